# The web server: page, JSON interface and the model that comes with the package; no TensorFlow.
# For education and research only. Not a medical device, not a diagnosis.
#
#   docker build --tag covidcxr .
#   docker run --rm --read-only --cap-drop ALL --publish 127.0.0.1:8000:8000 covidcxr
#
# More in docs/deploy.md. To pin the base to the byte: --build-arg PYTHON=3.13-slim-trixie@sha256:...
ARG PYTHON=3.13-slim-trixie

FROM docker.io/library/python:${PYTHON} AS build
WORKDIR /source
# pip lives in a folder of this stage alone: the server's has none.
RUN python -m venv /build && python -m venv --without-pip /opt/covidcxr
COPY pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY src src
RUN /build/bin/pip wheel --no-deps --wheel-dir /wheels . \
    && set -- /wheels/covidcxr-*.whl \
    && /build/bin/pip --python /opt/covidcxr/bin/python install --no-cache-dir --constraint constraints.txt "$1[web]"

FROM docker.io/library/python:${PYTHON}
LABEL org.opencontainers.image.title="covidcxr" \
      org.opencontainers.image.description="COVID-19 on frontal chest X-rays. For education and research only. Not a medical device, not a diagnosis." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python"
COPY --from=build /opt/covidcxr /opt/covidcxr
# gunicorn's heartbeat files are all that is ever written. /dev/shm is memory, and writable under a read-only root.
# ONNX Runtime from 1.29 on reports its use to its makers unless told not to.
ENV PATH=/opt/covidcxr/bin:$PATH \
    ORT_DISABLE_TELEMETRY=1 \
    PYTHONUNBUFFERED=1 \
    TMPDIR=/dev/shm
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
ENTRYPOINT ["covidcxr"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
