"""The guard: personal data, hostile instructions, harm and secrets found; what a policy does about them; what may leave."""
