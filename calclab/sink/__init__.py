"""Sinks write what comes out of a scan: CSV, TensorBoard, pictures, a progress bar, or memory. See `core.Sink`."""
