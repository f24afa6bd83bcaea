# Grafana with its data source and the platform's dashboard. Profile `monitoring`.
# Written for the classic builder and BuildKit alike. Context: the repository's root.
ARG GRAFANA_IMAGE=grafana/grafana:12.4.0
FROM ${GRAFANA_IMAGE}
USER root
COPY deploy/docker/harden /usr/local/sbin/ovchat-harden
RUN ovchat-harden
RUN mkdir -p /data && chown 10001:10001 /data && chmod 0750 /data
COPY deploy/monitoring/grafana-datasources.yaml /etc/ovchat/provisioning/datasources/prometheus.yaml
COPY deploy/monitoring/grafana-dashboards.yaml /etc/ovchat/provisioning/dashboards/ovchat.yaml
COPY deploy/grafana /etc/ovchat/dashboards
COPY deploy/docker/grafana /usr/local/bin/ovchat-grafana
# Nobody without the password, nothing sent anywhere, nothing fetched.
ENV GF_PATHS_DATA=/data \
    GF_PATHS_PLUGINS=/data/plugins \
    GF_PATHS_PROVISIONING=/etc/ovchat/provisioning \
    GF_AUTH_ANONYMOUS_ENABLED=false \
    GF_USERS_ALLOW_SIGN_UP=false \
    GF_ANALYTICS_REPORTING_ENABLED=false \
    GF_ANALYTICS_CHECK_FOR_UPDATES=false \
    GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES=false \
    GF_NEWS_NEWS_FEED_ENABLED=false \
    GF_PLUGINS_PREINSTALL_DISABLED=true \
    GF_SECURITY_DISABLE_GRAVATAR=true
USER 10001:10001
VOLUME /data
EXPOSE 3000
HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \
    CMD ["wget", "-q", "-O", "/dev/null", "http://127.0.0.1:3000/api/health"]
ENTRYPOINT ["ovchat-grafana"]
CMD []
ARG GRAFANA_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ovchat grafana" \
      org.opencontainers.image.description="Dashboard of ovchat" \
      org.opencontainers.image.licenses="AGPL-3.0-only" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${GRAFANA_IMAGE}"
