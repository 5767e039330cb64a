"""The reference applications: each a folder that a team can copy, built with what Penstock offers to anybody."""
