# To be sourced by a setup.sh: builds a virtual environment outside the checkout from the requirements.txt beside it.
#   build_venv <name> [<function>]   sets $venv; the function, if given, adds what pip alone cannot
# Idempotent, also by two at a time: a finished environment is kept until requirements.txt, setup.sh or this file changes.
build_venv() {
  local name=$1 more=${2:-true} here stamp lock
  here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
  venv=${SWITCHYARD_CACHE:-$HOME/.cache/switchyard}/venvs/$name
  stamp=$(cat "$here/requirements.txt" "$here/setup.sh" "${BASH_SOURCE[0]}" | sha256sum | cut -d' ' -f1)
  mkdir -p "$(dirname "$venv")"
  exec {lock}> "$venv.lock"
  flock "$lock"
  if [ "$(cat "$venv/.stamp" 2>/dev/null || true)" = "$stamp" ]; then
    exec {lock}>&-
    return 0
  fi
  rm -rf "$venv"
  "${PYTHON:-python3}" -m venv "$venv"
  "$venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt"
  "$more"
  echo "$stamp" > "$venv/.stamp"
  exec {lock}>&-
}
