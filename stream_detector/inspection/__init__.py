"""What a person's file of samples holds, and the recipe that follows from it.

`table` reads a file without knowing its columns, `roles` finds out which is what, `timing` how
regularly samples come, `plan` derives windows and times of alerts, `recipe_text` writes the recipe.
`strange` finds windows that are least like the others, `faults` puts artificial faults into normal
samples, and `trial` counts which of them a detector finds.
"""
