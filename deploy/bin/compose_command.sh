# Sourced by the scripts that speak to the platform, in deploy/: `compose ARGUMENTS…` is docker-compose, or what COMPOSE says.
#   COMPOSE="docker-compose --project-name 'NAME'"    quoted as in a shell
if [ -n "${COMPOSE:-}" ]; then
  eval "compose_command=($COMPOSE)"
elif command -v docker-compose >/dev/null; then
  compose_command=(docker-compose)
else
  compose_command=(docker compose)
fi
compose() { "${compose_command[@]}" "$@"; }
