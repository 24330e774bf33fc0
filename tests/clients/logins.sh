# shellcheck shell=bash
# Every client logs in as a robot and with an application token, pushes to a private repository and pulls from it. Then both
# ends, and what is cached of them opens nothing more.

login_image=$REGISTRY/clients/logins
json() { jq -r "$1"; }
podman_login() { podman_run login --tls-verify=false --username "$1" --password-stdin "$REGISTRY" <<< "$2"; }
docker_login() { docker login "$REGISTRY" --username "$1" --password-stdin <<< "$2"; }
skopeo_login() { skopeo login --tls-verify=false --username "$1" --password-stdin "$REGISTRY" <<< "$2"; }
crane_login() { crane auth login --insecure --username "$1" --password-stdin "$REGISTRY" <<< "$2"; }
oras_login() { oras login --plain-http --username "$1" --password-stdin "$REGISTRY" <<< "$2"; }
regctl_login() { regctl registry login --user "$1" --pass "$2" "$REGISTRY"; }
helm_login() { helm registry login --plain-http --username "$1" --password-stdin "$REGISTRY" <<< "$2"; }
docker_round() { docker build -q --network host -t "$login_image:$1" "$SCRATCH/content" && docker push "$login_image:$1" && docker rmi -f "$login_image:$1" && docker pull "$login_image:$1"; }
podman_round() {
    podman_run pull --tls-verify=false "$login_image:seed" && podman_run tag "$login_image:seed" "$login_image:$1" &&
        podman_run push --tls-verify=false "$login_image:$1" && podman_run rmi -f "$login_image:$1" "$login_image:seed" &&
        podman_run pull --tls-verify=false "$login_image:$1" && podman_run rmi -f "$login_image:$1"
}
skopeo_round() { skopeo_copy "docker://$login_image:seed" "docker://$login_image:$1" && skopeo_copy "docker://$login_image:$1" "dir:$SCRATCH/skopeo-$1"; }
crane_round() { crane append --insecure -f "$SCRATCH/content/small.tar" -t "$login_image:$1" && crane pull --insecure "$login_image:$1" "$SCRATCH/crane-$1.tar"; }
oras_round() {
    cd "$SCRATCH/content" && oras push --plain-http --artifact-type application/vnd.example.files "$login_image:$1" small/hello.txt:text/plain &&
        oras pull --plain-http -o "$SCRATCH/oras-$1" "$login_image:$1"
}
regctl_round() { regctl image copy "$login_image:seed" "$login_image:$1" && regctl image copy "$login_image:$1" "ocidir://$SCRATCH/regctl-$1:1"; }
helm_round() {
    mkdir -p "$SCRATCH/helm-$1" && cd "$SCRATCH/helm-$1" && helm create logins && helm package logins --version "1.0.0-$1" &&
        helm push --plain-http "logins-1.0.0-$1.tgz" "oci://$REGISTRY/clients" && rm -r logins* &&
        helm pull --plain-http "oci://$login_image" --version "1.0.0-$1"
}
export -f podman_login docker_login skopeo_login crane_login oras_login regctl_login helm_login
export -f docker_round podman_round skopeo_round crane_round oras_round regctl_round helm_round
export login_image

if [ -z "${TARGET:-}" ]; then
    export HELM_REGISTRY_CONFIG=$DOCKER_CONFIG/config.json HELM_CACHE_HOME=$SCRATCH/helm HELM_CONFIG_HOME=$SCRATCH/helm
    crane_login "$ADMIN" "$PASSWORD" > /dev/null 2>&1
    check 'logins: a seed is pushed' crane_round seed
    crane auth logout "$REGISTRY" > /dev/null 2>&1
    login_robot=$("$PORTOLAN" admin robot create clients+ci -o json | json .secret)
    login_token=$("$PORTOLAN" admin token create "$ADMIN" --title clients -o json | json .secret)
    sql "${PORTOLAN_DATABASE__PRIMARY##*/}" "INSERT INTO permission (repository_id, account_id, role)
        SELECT r.id, a.id, 2 FROM repository r, account a WHERE r.path = 'clients/logins' AND a.name = 'clients+ci'"
    clients_to_log_in=(docker podman skopeo crane oras regctl)
    ! command -v helm > /dev/null || clients_to_log_in+=(helm)
    for client in "${clients_to_log_in[@]}"; do
        check "$client: logs in as a robot" "${client}_login" clients+ci "$login_robot"
        check "$client: pushes and pulls as a robot" "${client}_round" "$client-robot"
        check "$client: logs in with an application token" "${client}_login" '$token' "$login_token"
        check "$client: pushes and pulls with an application token" "${client}_round" "$client-token"
    done
    check 'admin: deletes the application token' "$PORTOLAN" admin token delete "$ADMIN" \
        "$("$PORTOLAN" admin token list "$ADMIN" -o json | json '.[0].id')"
    for client in docker crane regctl; do
        refused "$client: a deleted application token opens nothing" "${client}_round" "$client-token"
    done
    check 'docker: logs in as a robot again' docker_login clients+ci "$login_robot"
    check 'admin: disables the robot' "$PORTOLAN" admin robot disable clients+ci
    refused 'docker: a disabled robot is shut out' docker_round docker-robot
    for client in docker skopeo; do "$client" logout "$REGISTRY" > /dev/null 2>&1; done
fi
