# shellcheck shell=bash
# A docker daemon of our own: no bridge, no firewall rules, everything in the scratch folder, plain HTTP to 127.0.0.0/8
# as every docker daemon allows. Only root can start one; others use the daemon they may already talk to.

start_docker_daemon() {
    local folder=$SCRATCH/docker
    mkdir -p "$folder"
    PATH=$PATH:/usr/sbin:/sbin dockerd --data-root "$folder/root" --exec-root "$folder/exec" -H "unix://$folder/d.sock" \
        --pidfile "$folder/pid" --bridge=none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false \
        --storage-driver vfs > "$folder/log" 2>&1 < /dev/null &
    at_end "stop_process $!"
    export DOCKER_HOST=unix://$folder/d.sock
    until_true 60 docker version || { tail -n 20 "$folder/log" >&2; die 'dockerd did not start'; }
}

if [ "$(id -u)" = 0 ]; then
    start_docker_daemon
else
    docker version > /dev/null 2>&1 || die 'docker: start this as root, or as a user who may talk to a docker daemon'
fi
# The old builder needs nothing that is not in Debian's package.
export DOCKER_BUILDKIT=0
