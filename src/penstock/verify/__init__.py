"""Whether what an answer says is in its sources: sentence by sentence, with the evidence, and how sure we are."""
