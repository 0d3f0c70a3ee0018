# Two images from one repository: `service` (no torch) and `worker` (torch). Both run as the user 10001 on a read-only
# root file system; they write to /var/lib/expunge (volumes) and /tmp (tmpfs) alone.
# Dependencies lie in layers of their own below the sources, and the worker's on top of the service's.
FROM python:3.11-slim-bookworm AS base
LABEL org.opencontainers.image.title="Expunge" org.opencontainers.image.licenses="Apache-2.0"
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore \
    EXPUNGE_HOME=/var/lib/expunge
RUN useradd --uid 10001 --create-home expunge \
    && install -d -o expunge -g expunge -m 700 /var/lib/expunge /var/lib/expunge/storage \
    && install -d /data

# What to install, read from pyproject.toml: another change there installs nothing again.
FROM base AS requirements
WORKDIR /lists
COPY pyproject.toml .
RUN python <<'END'
import pathlib, tomllib
extras = tomllib.loads(pathlib.Path("pyproject.toml").read_text())["project"]["optional-dependencies"]
lists = {"service": [*extras["service"], *extras["otel"]], "worker": [*extras["unlearning"], *extras["worker"]]}
for name, wanted in lists.items():
    others = [line for line in wanted if not line.startswith("expunge[")]
    pathlib.Path(f"{name}.txt").write_text("\n".join(others) + "\n")
END

FROM base AS service-dependencies
COPY --from=requirements /lists/service.txt /source/
RUN --mount=type=cache,target=/root/.cache/pip pip install --requirement /source/service.txt

FROM service-dependencies AS worker-dependencies
COPY --from=requirements /lists/service.txt /lists/worker.txt /source/
# https://download.pytorch.org/whl/cpu makes an image of a fifth of the size for machines without a GPU.
ARG TORCH_INDEX=""
RUN --mount=type=cache,target=/root/.cache/pip pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
    --requirement /source/service.txt --requirement /source/worker.txt

FROM service-dependencies AS service
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY migrations ./migrations
COPY service ./service
RUN pip install --no-cache-dir --no-deps .
WORKDIR /var/lib/expunge
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=5)"]
CMD ["expunge", "serve", "--host", "0.0.0.0", "--port", "8000"]

FROM worker-dependencies AS worker
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY migrations ./migrations
COPY service ./service
COPY unlearning ./unlearning
COPY worker ./worker
RUN pip install --no-cache-dir --no-deps .
ENV EXPUNGE_PULSE_FILE=/tmp/expunge.pulse
WORKDIR /var/lib/expunge
USER 10001:10001
STOPSIGNAL SIGTERM
# The worker touches the file every two seconds while it is connected to the broker.
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD test -n "$(find /tmp/expunge.pulse -newermt '-60 seconds')"
CMD ["expunge", "worker"]
