# The online path and the page: no TensorFlow, no compiler, nothing to train with.
#   docker build -t stream-detector .
# Everything installed is in deploy/image.lock with its hashes; `make lock` renews it.
FROM python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b AS builder

WORKDIR /src
COPY deploy/image.lock ./
RUN python -m venv /opt/venv && \
    /opt/venv/bin/pip install --no-cache-dir --require-hashes --requirement image.lock
COPY pyproject.toml README.md LICENSE ./
COPY models ./models
COPY stream_detector ./stream_detector
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b AS detector

COPY --from=builder /opt/venv /opt/venv
# Bundles are mounted read-only at /bundles; only the download cache is ever written.
RUN useradd --uid 10001 --create-home detector
USER 10001:10001
WORKDIR /home/detector
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1

# `detect --metrics-port 9100` serves this; other commands switch the check off.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:9100/readyz', timeout=2)"]
ENTRYPOINT ["stream-detector"]
