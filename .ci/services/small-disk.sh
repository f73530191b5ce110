#!/bin/sh
# Mounts a small file system that fills up soon, or unmounts it. Needs root.
#   small-disk.sh start   prints the folder for SWITCHYARD_TEST_SMALL_DISK
#   small-disk.sh stop <folder>
set -eu
case ${1:-} in
  start)
    dir=$(mktemp -d)
    mount -t tmpfs -o size=16m,mode=700 tmpfs "$dir" || { rmdir "$dir"; exit 1; }
    echo "$dir"
    ;;
  stop)
    umount "${2:?folder}" && rmdir "$2"
    ;;
  *)
    echo 'usage: small-disk.sh start | stop <folder>' >&2
    exit 2
    ;;
esac
