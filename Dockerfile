# Two images from one repository: `service` (no torch) and `worker` (torch).
FROM python:3.11-slim-bookworm AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --uid 10001 --create-home expunge \
    && install -d -o expunge -g expunge /var/lib/expunge /data
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY service ./service
COPY migrations ./migrations

FROM base AS service
RUN --mount=type=cache,target=/root/.cache/pip pip install '.[service]'
USER expunge
EXPOSE 8000
CMD ["expunge", "serve", "--host", "0.0.0.0", "--port", "8000"]

FROM base AS worker
COPY unlearning ./unlearning
COPY worker ./worker
RUN --mount=type=cache,target=/root/.cache/pip pip install '.[worker]'
USER expunge
STOPSIGNAL SIGTERM
CMD ["expunge", "worker"]
