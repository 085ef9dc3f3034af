"""The detector inside engines that others run."""
