"""What other programs do with the topics that `detect` writes: read alerts, redrive dead letters.

Nothing here needs a terminal: the command line shows what these functions return, and a web page
or another program can use them as well.
"""
