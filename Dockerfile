# The workbook on the CPU, with JupyterLab on port 8888:
#   docker build -t workbook . && docker run --rm -p 8888:8888 workbook
# Any target of the Makefile in its place, here with the results kept:
#   docker run --rm -v "$PWD/results:/home/reader/workbook/results" workbook make PROFILE=smoke
FROM python:3.13-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends git make \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home reader
USER reader
WORKDIR /home/reader/workbook
COPY --chown=reader . .
ENV PIP_NO_CACHE_DIR=1
RUN make env CPU=1

EXPOSE 8888
CMD ["make", "lab", "ARGS=--ip=0.0.0.0 --no-browser"]
