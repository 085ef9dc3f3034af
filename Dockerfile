# The online path only: no TensorFlow, no compiler, nothing to train with.
#   docker build -t stream-detector .
FROM python:3.11-slim AS detector

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY models ./models
COPY stream_detector ./stream_detector
RUN pip install --no-cache-dir . && rm -rf /src

# Bundles are mounted read-only at /bundles; only the download cache is ever written.
RUN useradd --uid 10001 --create-home detector
USER detector
WORKDIR /home/detector
ENV PYTHONUNBUFFERED=1

# `detect --metrics-port 9100` serves this; other commands switch the check off.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9100/readyz', timeout=2)"]
ENTRYPOINT ["stream-detector"]

# The same with what fetches a public data set.
FROM detector AS producer
USER root
RUN pip install --no-cache-dir "pooch>=1.8"
USER detector
HEALTHCHECK NONE

FROM detector
