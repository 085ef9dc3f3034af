"""Engines, which run a network: windows in, reconstructions out.

`stream_detector.engines.onnx` is the default and imports no training library;
`stream_detector.engines.keras` runs on the device that Keras uses, a GPU if there is one.
"""
