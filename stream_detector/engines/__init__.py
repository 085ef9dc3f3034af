"""What runs a network: windows in, reconstructions out.

`stream_detector.engines.onnx` is the default and loads no training library;
`stream_detector.engines.keras` runs on whatever device Keras has.
"""
