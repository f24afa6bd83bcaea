# Prometheus with the platform's scrape configuration and alert rules. Profile `monitoring`.
# Written for the classic builder and BuildKit alike. Context: the repository's root.
ARG PROMETHEUS_IMAGE=prom/prometheus:v3.13.5
FROM ${PROMETHEUS_IMAGE}
USER root
COPY deploy/docker/harden /usr/local/sbin/ovchat-harden
RUN ovchat-harden
RUN mkdir -p /data && chown 10001:10001 /data && chmod 0750 /data
COPY deploy/monitoring/prometheus.yaml deploy/monitoring/alerts.yaml /etc/ovchat/
COPY deploy/docker/prometheus /usr/local/bin/ovchat-prometheus
WORKDIR /data
USER 10001:10001
VOLUME /data
EXPOSE 9090
# promtool is in every image of Prometheus; a query is answered once what is on the disk has been read.
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=3 \
    CMD ["promtool", "query", "instant", "http://127.0.0.1:9090", "vector(1)"]
ENTRYPOINT ["ovchat-prometheus"]
CMD []
# The image is not made with a configuration or rules that this Prometheus does not take.
RUN promtool check config --syntax-only /etc/ovchat/prometheus.yaml && promtool check rules /etc/ovchat/alerts.yaml
ARG PROMETHEUS_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ovchat prometheus" \
      org.opencontainers.image.description="Metrics and alerts of ovchat" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${PROMETHEUS_IMAGE}"
