# shellcheck shell=bash
# podman: log in, build, push, pull; an index of two platforms by `podman manifest`.

podman_image=$REGISTRY/clients/podman
export TMPDIR=$SCRATCH
podman_run() {
    podman --root "$SCRATCH/podman/root" --runroot "$SCRATCH/podman/run" --storage-driver vfs \
        --cgroup-manager cgroupfs --events-backend file "$@"
}
podman_password() { podman_run login --tls-verify=false --username "$ADMIN" --password-stdin "$REGISTRY" <<< "$1"; }
podman_build() {
    podman_run build --isolation chroot --no-cache --os linux --arch "$1" --label "platform=$1" -t "$podman_image:$1" "$SCRATCH/content"
}
podman_push() { podman_run push --tls-verify=false --digestfile "$SCRATCH/podman.digest" "$podman_image:$1"; }
podman_pull() { podman_run rmi -f "$podman_image:$1" && podman_run pull --tls-verify=false "$podman_image:$1"; }
podman_digest() { podman_run image inspect --format '{{.Digest}}' "$podman_image:$1"; }
podman_index() {
    podman_run manifest create "$podman_image:index"
    podman_run manifest add "$podman_image:index" "containers-storage:$podman_image:amd64"
    podman_run manifest add "$podman_image:index" "containers-storage:$podman_image:arm64"
    podman_run manifest push --all --tls-verify=false --digestfile "$SCRATCH/podman.digest" \
        "$podman_image:index" "docker://$podman_image:index"
}
export -f podman_run podman_password podman_build podman_push podman_pull podman_index
export podman_image PASSWORD

refused 'podman: a wrong password is refused' podman_password wrong
check 'podman: login' podman_password "$PASSWORD"
check 'podman: build for amd64' podman_build amd64
check 'podman: build for arm64' podman_build arm64
check 'podman: push' podman_push amd64
same 'podman: the pushed digest is the one served' "$(cat "$SCRATCH/podman.digest")" "$(digest clients/podman amd64)"
check 'podman: pull after removing the image' podman_pull amd64
same 'podman: the pulled digest is the pushed one' "$(podman_digest amd64)" "$(digest clients/podman amd64)"
check 'podman: pushes an index of two platforms' podman_index
same 'podman: the index served is the index pushed' "$(cat "$SCRATCH/podman.digest")" "$(digest clients/podman index)"
same 'podman: the index names both platforms' \
    "$(manifest clients/podman index | jq -r '[.manifests[].platform.architecture] | sort | join(" ")')" 'amd64 arm64'
check 'podman: logout' podman_run logout "$REGISTRY"
refused 'podman: without a login the repository is closed' podman_pull amd64
