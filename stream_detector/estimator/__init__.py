"""The detector for programs: fitted to tables and arrays, scored, explained and drawn in Python.

`inputs` takes what a program gives, `making` decides the recipe, `running` scores with the detector
of a bundle, `drawing` draws, and `detector` is what a program sees of all this.
"""

from stream_detector.estimator.detector import AutoencoderDetector, score

__all__ = ["AutoencoderDetector", "score"]
