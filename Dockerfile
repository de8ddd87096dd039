# The gateway alone: packages come from the lock, and what built them stays behind in the first stage.
FROM python:3.13-slim AS build

RUN python -m venv /venv
WORKDIR /src
COPY requirements/run.txt requirements/
RUN /venv/bin/python -m pip install --no-cache-dir --require-hashes -r requirements/run.txt
COPY pyproject.toml README.md LICENSE ./
COPY h2gate h2gate
RUN /venv/bin/python -m pip install --no-cache-dir --no-deps --no-build-isolation .


FROM python:3.13-slim

COPY --from=build /venv /venv
# Nobody else's uid, and the owner of what a new volume is filled with.
RUN install -d -o 10001 -g 10001 /data /certs
USER 10001:10001
WORKDIR /data
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
VOLUME /data
EXPOSE 8443

# Asks this very process, over loopback: whose name the certificate carries does not matter here.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import ssl, urllib.request as u; u.urlopen('https://127.0.0.1:8443/healthz', timeout=4, context=ssl._create_unverified_context())"]

# Without --anonymous the gateway refuses to serve the world: whoever runs the image says so, as docker-compose.yml does.
ENTRYPOINT ["h2gate"]
CMD ["serve", "--listen", "0.0.0.0:8443", "--data", "/data", "--certs", "/certs"]
