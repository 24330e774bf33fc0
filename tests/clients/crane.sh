# shellcheck shell=bash
# crane: log in, append (push from nothing), pull, validate, copy the whole index, list, delete.

crane_image=$REGISTRY/clients/crane
crane_password() { crane auth login --insecure --username "$ADMIN" --password-stdin "$REGISTRY" <<< "$1"; }
crane_layers() { crane append --insecure -f "$SCRATCH/content/small.tar" -f "$SCRATCH/content/large.tar" -t "$crane_image:1"; }
crane_open() { crane pull --insecure "$crane_image:1" "$SCRATCH/crane.tar"; }
crane_file() { crane export --insecure "$crane_image:1" - | tar -xO random.bin; }
export -f crane_password crane_layers crane_open
export crane_image

# `crane auth login` only keeps what it is given: the first request tells.
check 'crane: login with a wrong password is kept' crane_password wrong
refused 'crane: a wrong password is refused' crane_layers
check 'crane: login' crane_password "$PASSWORD"
check 'crane: pushes an image made from two layers' crane_layers
same 'crane: the digest is the one served' "$(crane digest --insecure "$crane_image:1")" "$(digest clients/crane 1)"
check 'crane: pull' crane_open
check 'crane: every digest and size of the image is right' crane validate --insecure --remote "$crane_image:1"
same 'crane: a pulled file has its bytes' "$(crane_file | sha256sum)" "$(sha256sum < "$SCRATCH/content/large/random.bin")"
check 'crane: copies every platform to another repository' \
    crane copy --insecure "$REGISTRY/clients/podman:index" "$crane_image:copy"
same 'crane: the copy has the digest of the index' "$(digest clients/podman index)" "$(digest clients/crane copy)"
same 'crane: lists the tags' "$(crane ls --insecure "$crane_image" | sort | tr '\n' ' ')" '1 copy '
same 'crane: the catalog names the repository' "$(crane catalog --insecure "$REGISTRY" | grep -x clients/crane)" clients/crane
check 'crane: tags an image' crane tag --insecure "$crane_image:1" 2
same 'crane: the new tag is the same image' "$(digest clients/crane 1)" "$(digest clients/crane 2)"
check 'crane: deletes an image by digest' crane delete --insecure "$crane_image@$(digest clients/crane copy)"
same 'crane: what it deleted is gone' "$(status clients/crane/manifests/copy)" 404
check 'crane: deletes a tag' crane delete --insecure "$crane_image:2"
same 'crane: the deleted tag is gone' "$(status clients/crane/manifests/2)" 404
same 'crane: the other tag is still there' "$(status clients/crane/manifests/1)" 200
check 'crane: logout' crane auth logout "$REGISTRY"
refused 'crane: without a login the repository is closed' crane ls --insecure "$crane_image"
