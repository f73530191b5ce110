#!/usr/bin/env bash
# A throw-away Kubernetes control plane on loopback: etcd, kube-apiserver, kube-controller-manager, and kwok for the nodes.
#   kubernetes.sh install        builds what is missing into the cache, outside the checkout (about five minutes, needs Go)
#   kubernetes.sh start [port]   prints the kubeconfig for SWITCHYARD_TEST_KUBECONFIG (default port 16443)
#   kubernetes.sh stop [port]
# kwok plays nodes and containers: pods get ready and complete, no program runs in them; each prints "accuracy=0.9 step=1". Its stages are its own
# (kustomize/stage of its module): pod/general, with which pods tell by annotations how long they run, and pod/chaos.
# Needs Debian's etcd-server and openssl. The context "runner" of the kubeconfig is a service account that may do what
# docs/training.md tells, in the namespace "training" alone; "admin" may do everything.
set -euo pipefail
kubernetes=1.31.4
kwok=0.6.1
trainer=2.0.1
verb=${1:-}
port=${2:-16443}
home=${SWITCHYARD_CACHE:-$HOME/.cache/switchyard}/kubernetes-$kubernetes
dir=${TMPDIR:-/tmp}/switchyard-kubernetes-$port
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

module_folder() { go mod download -json "$1" | sed -n 's/^\t*"Dir": "\(.*\)",\{0,1\}$/\1/p'; }

# k8s.io/kubernetes names its staging modules by path; each is published beside it as v0.<minor>.<patch>.
build() {
  local source work=$1
  cd "$work"
  source=$(module_folder "k8s.io/kubernetes@v$kubernetes")
  {
    echo 'module switchyard.test/kubernetes'
    grep -m1 '^go ' "$source/go.mod"
    echo "require k8s.io/kubernetes v$kubernetes"
    sed -n 's#^\t*\(k8s\.io/[a-z-]*\) => \./staging/.*#replace \1 => \1 v0.'"${kubernetes#1.}"'#p' "$source/go.mod"
  } > go.mod
  printf 'package main\n\nimport (\n\t_ "k8s.io/kubernetes/cmd/kube-apiserver/app"\n\t_ "k8s.io/kubernetes/cmd/kube-controller-manager/app"\n)\n\nfunc main() {}\n' > main.go
  go mod tidy >&2
  local version="-X k8s.io/component-base/version.gitVersion=v$kubernetes -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=31"
  for program in kube-apiserver kube-controller-manager; do
    CGO_ENABLED=0 go build -ldflags "-s -w $version" -o "$home/$program" "k8s.io/kubernetes/cmd/$program" >&2
  done
}

install() {
  command -v go >/dev/null || { echo 'Go is not installed; it builds Kubernetes' >&2; exit 1; }
  mkdir -p "$home"
  local work source
  if [ ! -x "$home/kube-apiserver" ] || [ ! -x "$home/kube-controller-manager" ]; then
    work=$(mktemp -d)
    (build "$work")
    rm -rf "$work"
  fi
  [ -x "$home/kwok" ] || GOBIN=$home CGO_ENABLED=0 go install "sigs.k8s.io/kwok/cmd/kwok@v$kwok" >&2
  if [ ! -s "$home/stages.yaml" ]; then
    source=$(module_folder "sigs.k8s.io/kwok@v$kwok")/kustomize/stage
    for file in "$source"/node/fast/node-*.yaml "$source"/node/heartbeat/node-*.yaml "$source"/pod/general/pod-*.yaml \
      "$source"/pod/chaos/pod-container-running-failed.yaml; do
      cat "$file"
      printf '\n---\n'
    done > "$home/stages.yaml"
  fi
  source=$(module_folder "github.com/kubeflow/trainer/v2@v$trainer")/manifests/base/crds
  for kind in trainjobs clustertrainingruntimes; do
    cp -n "$source/trainer.kubeflow.org_$kind.yaml" "$home/"
  done
}

background() {
  local name=$1
  shift
  "$@" > "$dir/$name.log" 2>&1 < /dev/null &
  echo $! >> "$dir/pids"
}

await() {
  local what=$1 tries=0
  shift
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 600 ] || { echo "$what did not start:" >&2; tail -n 5 "$dir"/*.log >&2; exit 1; }
    sleep 0.2
  done
}

api() {
  local method=$1 path=$2
  shift 2
  curl -sf --cacert "$dir/pki/ca.crt" -H 'authorization: Bearer admin-token' -X "$method" "https://127.0.0.1:$port$path" "$@"
}

apply() { api POST "$1" -H 'content-type: application/yaml' --data-binary @- -o /dev/null; }

certificates() {
  mkdir -p "$dir/pki"
  cd "$dir/pki"
  openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 7 -subj /CN=switchyard-test 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=127.0.0.1 2>/dev/null
  printf 'subjectAltName=IP:127.0.0.1,DNS:localhost' > san
  openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 7 -extfile san 2>/dev/null
  openssl genrsa -out sa.key 2048 2>/dev/null
}

kubeconfig() {
  cat <<YAML
apiVersion: v1
kind: Config
current-context: $1
clusters:
  - {name: test, cluster: {server: 'https://127.0.0.1:$port', certificate-authority: '$dir/pki/ca.crt'}}
contexts:
  - {name: admin, context: {cluster: test, user: admin, namespace: training}}
  - {name: runner, context: {cluster: test, user: runner, namespace: training}}
users:
  - {name: admin, user: {token: admin-token}}
  - {name: runner, user: {token: '$2'}}
YAML
}

start() {
  [ -x "$home/kwok" ] && [ -s "$home/trainer.kubeflow.org_trainjobs.yaml" ] || { echo 'Kubernetes is not built; run kubernetes.sh install' >&2; exit 1; }
  command -v etcd >/dev/null || { echo 'etcd is not installed; apt-get install etcd-server' >&2; exit 1; }
  mkdir -m 700 "$dir" 2>/dev/null || { echo "$dir is in the way; kubernetes.sh stop $port" >&2; exit 1; }
  certificates
  cd "$dir"
  echo 'admin-token,admin,admin,system:masters' > tokens.csv
  local etcd=$((port + 1)) kubelet=$((port + 3))
  background etcd etcd --data-dir "$dir/etcd" --unsafe-no-fsync --listen-client-urls "http://127.0.0.1:$etcd" \
    --advertise-client-urls "http://127.0.0.1:$etcd" --listen-peer-urls "http://127.0.0.1:$((port + 2))"
  background apiserver "$home/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd" --bind-address 127.0.0.1 \
    --advertise-address 127.0.0.1 --secure-port "$port" --service-cluster-ip-range 10.96.0.0/16 \
    --tls-cert-file "$dir/pki/server.crt" --tls-private-key-file "$dir/pki/server.key" --token-auth-file "$dir/tokens.csv" \
    --authorization-mode RBAC --service-account-key-file "$dir/pki/sa.key" \
    --service-account-signing-key-file "$dir/pki/sa.key" --service-account-issuer https://kubernetes.default.svc \
    --kubelet-certificate-authority "$dir/pki/ca.crt"
  await kube-apiserver api GET /readyz
  kubeconfig admin none > admin.yaml
  background controllers "$home/kube-controller-manager" --kubeconfig "$dir/admin.yaml" --bind-address 127.0.0.1 \
    --secure-port "$((port + 4))" --leader-elect=false --use-service-account-credentials=true \
    --service-account-private-key-file "$dir/pki/sa.key" --root-ca-file "$dir/pki/ca.crt"
  printf '%s stdout F accuracy=0.9 step=1\n' "$(date -u +%Y-%m-%dT%H:%M:%S.000000000Z)" > pod.log
  printf '{apiVersion: kwok.x-k8s.io/v1alpha1, kind: ClusterLogs, metadata: {name: all}, spec: {logs: [{logsFile: %s}]}}' \
    "$dir/pod.log" > logs.yaml
  background kwok "$home/kwok" --kubeconfig "$dir/admin.yaml" --config "$home/stages.yaml" --config "$dir/logs.yaml" --manage-all-nodes=true \
    --node-ip 127.0.0.1 --node-port "$kubelet" --server-address "127.0.0.1:$kubelet" \
    --tls-cert-file "$dir/pki/server.crt" --tls-private-key-file "$dir/pki/server.key"
  for file in "$home"/trainer.kubeflow.org_*.yaml; do apply /apis/apiextensions.k8s.io/v1/customresourcedefinitions < "$file"; done
  apply /api/v1/namespaces <<< '{apiVersion: v1, kind: Namespace, metadata: {name: training}}'
  apply /api/v1/nodes <<< '{apiVersion: v1, kind: Node, metadata: {name: node-1}}'
  apply /api/v1/namespaces/training/serviceaccounts <<< '{apiVersion: v1, kind: ServiceAccount, metadata: {name: switchyard}}'
  apply /apis/rbac.authorization.k8s.io/v1/namespaces/training/roles < "$here/kubernetes-role.yaml"
  apply /apis/rbac.authorization.k8s.io/v1/namespaces/training/rolebindings <<YAML
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: switchyard},
 subjects: [{kind: ServiceAccount, name: switchyard, namespace: training}],
 roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: switchyard}}
YAML
  local token
  token=$(api POST /api/v1/namespaces/training/serviceaccounts/switchyard/token -H 'content-type: application/json' \
    -d '{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{"expirationSeconds":86400}}' |
    sed -n 's/^ *"token": "\(.*\)",\{0,1\}$/\1/p')
  await 'the service account "default"' api GET /api/v1/namespaces/training/serviceaccounts/default
  await 'the TrainJob API' api GET /apis/trainer.kubeflow.org/v1alpha1/namespaces/training/trainjobs
  kubeconfig runner "$token" > kubeconfig.yaml
  echo "$dir/kubeconfig.yaml"
}

stop() {
  [ ! -s "$dir/pids" ] || xargs -r kill < "$dir/pids" 2>/dev/null || true
  rm -rf "$dir"
}

case $verb in
  install | start | stop) "$verb" ;;
  *)
    echo 'usage: kubernetes.sh install | start|stop [port]' >&2
    exit 2
    ;;
esac
