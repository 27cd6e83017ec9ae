# The ranker in front of TF Serving; built from the root of the project.
#   build   docker build -f deploy/tf_serving/ranker.Dockerfile -t smalltowers-ranker .
FROM python:3.11-slim-trixie

RUN apt-get update && apt-get install -y --no-install-recommends g++ make && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY . .
RUN make environment

EXPOSE 8600
ENTRYPOINT ["/app/.venv/bin/smalltowers", "serve"]
CMD ["configs/demo.toml"]
