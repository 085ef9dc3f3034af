"""A person's own files as data sets: CSV, Parquet and folders of images."""
