"""Runs tasks, keeps their results, and says what a claim is: knows no physics and no figure."""
