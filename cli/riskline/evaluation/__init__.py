"""A guard held against gold labels: verdicts and scores in, one report out (schemas/eval.json)."""
