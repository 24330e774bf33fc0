# shellcheck shell=bash
# docker: log in, build, push, remove, pull, and look into what came back.

docker_image=$REGISTRY/clients/docker
docker_password() { docker login "$REGISTRY" --username "$ADMIN" --password-stdin <<< "$1"; }
docker_build() { docker build -q --network host -t "$docker_image:1" "$SCRATCH/content"; }
docker_push() { docker push "$docker_image:1"; }
docker_pull() { docker rmi -f "$docker_image:1" && docker pull "$docker_image:1"; }
docker_repo_digest() { docker inspect --format '{{index .RepoDigests 0}}' "$docker_image:1" | cut -d@ -f2; }
docker_file() {
    local container
    container=$(docker create "$docker_image:1" 2> /dev/null) && docker cp "$container:/$1" - | tar -xO && docker rm "$container" > /dev/null
}
export -f docker_password docker_build docker_push docker_pull
export docker_image SCRATCH REGISTRY ADMIN

refused 'docker: a wrong password is refused' docker_password wrong
check 'docker: login' docker_password "$PASSWORD"
check 'docker: build' docker_build
check 'docker: push' docker_push
same 'docker: the pushed digest is the one served' "$(docker_repo_digest)" "$(digest clients/docker 1)"
check 'docker: pull after removing the image' docker_pull
same 'docker: the pulled digest is the pushed one' "$(docker_repo_digest)" "$(digest clients/docker 1)"
same 'docker: a pulled file has its bytes' "$(docker_file random.bin | sha256sum)" \
    "$(sha256sum < "$SCRATCH/content/large/random.bin")"
check 'docker: a second push uploads nothing and succeeds' docker_push
check 'docker: logout' docker logout "$REGISTRY"
refused 'docker: without a login the repository is closed' docker_pull
