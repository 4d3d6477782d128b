# Serin's image. Build: docker build -t serin .
# Run:   docker run --read-only --tmpfs /tmp -p 8000:8000 -p 8001:8001 -v serin-state:/var/lib/serin serin
# The sample models are in /models; mount your own over it. The admin port stays on the container's loopback:
# docker exec CONTAINER serin route show
# Who reaches the published ports may ask models, unless SERIN_KEYS_FILE names a file of API keys that you mount:
# docker run ... -v ./keys.toml:/etc/serin/keys.toml:ro -e SERIN_KEYS_FILE=/etc/serin/keys.toml serin
#
# Pinned by version tag. To pin the bytes as well, pass --build-arg PYTHON_IMAGE=python@sha256:<digest of that tag>.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
WORKDIR /src
RUN python -m venv /opt/serin
COPY requirements.lock ./
RUN /opt/serin/bin/python -m pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY service ./service
COPY router ./router
# What only an installation needs does not go into the image.
RUN /opt/serin/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation . \
 && /opt/serin/bin/python -m pip uninstall --yes setuptools pip

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="Serin" org.opencontainers.image.licenses="Apache-2.0"
# A fresh volume takes its owner from this directory.
RUN mkdir -p /var/lib/serin && chown 10001:10001 /var/lib/serin
COPY --from=build /opt/serin /opt/serin
COPY models /models
ENV PATH=/opt/serin/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    SERIN_MODELS=/models \
    SERIN_STATE=/var/lib/serin \
    SERIN_HOST=0.0.0.0 \
    SERIN_INSECURE_OPEN_MODELS=true
USER 10001:10001
WORKDIR /var/lib/serin
VOLUME /var/lib/serin
EXPOSE 8000 8001
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, ssl, urllib.request as r; e = os.environ.get; c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE; r.urlopen(('https' if e('SERIN_TLS_CERT_FILE') else 'http') + '://127.0.0.1:' + e('SERIN_HTTP_PORT', '8000') + '/v2/health/live', timeout=4, context=c)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["serin", "serve"]
