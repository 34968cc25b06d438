#!/bin/bash
# The main job: vagrant/quickstart makes a cluster of three hosts, and the real kubectl does on it what its users do.
. "$(dirname "$0")/lib.sh"
tmp=$(mktemp -d)
trap 'kill $(jobs -p) 2> /dev/null; rm -rf "$tmp"' EXIT

on() { $lab ssh "$@"; }
kubectl() { command kubectl --request-timeout 60s --cache-dir "$tmp/cache" "$@"; }
ready_nodes() { kubectl get nodes --no-headers | awk '$2 == "Ready"' | wc -l; }
pod_of() { kubectl get pods -l app=web -o "jsonpath={.items[?(@.spec.nodeName=='$1')].metadata.name}" | awk '{ print $1 }'; }
replicas_on() { kubectl get pods -l app=web --field-selector "spec.nodeName=$1,status.phase=Running" --no-headers | wc -l; }
some_on() { [ "$(replicas_on "$1")" -ge 1 ]; }
answers() { says web- curl -fsS --max-time 5 "$1"; }
from_pod() { kubectl exec "$(pod_of "$1")" -- timeout 10 wget -qO- "$2"; }
from_host() { on "$1" "exec 3<> /dev/tcp/$2/80 && printf 'GET /cgi-bin/name HTTP/1.0\r\n\r\n' >&3 && timeout 5 cat <&3"; }
whoami() { kubectl --token "$(kubectl exec "$1" -- cat /var/run/secrets/kubernetes.io/serviceaccount/token)" auth whoami --kubeconfig /dev/null --server https://10.88.0.11:6443 --insecure-skip-tls-verify; }
names_a_pod() { says web- "$@"; }

check "quickstart makes the cluster" vagrant/quickstart
check "three nodes are ready" equals 3 ready_nodes
check "all replicas are available" equals 6 kubectl get deployment web -o 'jsonpath={.status.availableReplicas}'
check "some run on w1" some_on w1
check "some run on w2" some_on w2
check "no Pod of the system waits" equals 0 bash -c "kubectl --kubeconfig $KUBECONFIG get pods -n kube-system --no-headers | awk '\$3 != \"Running\"' | wc -l"
check "no node was registered without its room" not says "Too many pods" kubectl get events -A
check "static Pods show as mirror Pods" kubectl get pods -n kube-system kube-apiserver-cp1 etcd-cp1 kube-controller-manager-cp1 kube-scheduler-cp1

# Reading.
check "wide lists show nodes and addresses" says 10.244. kubectl get pods -o wide
check "describe shows what happened to a Pod" says "Container started" kubectl describe pod "$(pod_of w1)"
check "describe shows a node" says "kubernetes.io/hostname=w1" kubectl describe node w1
check "events are listed" says Scheduled kubectl get events
check "explain describes a field" says "FIELD: replicas <integer>" kubectl explain deployment.spec.replicas
check "resources are listed with their groups" says deployments kubectl api-resources --api-group apps
check "an administrator may do everything" equals yes kubectl auth can-i '*' '*'
check "a ServiceAccount may not" refuses no kubectl auth can-i delete nodes --as system:serviceaccount:default:default
check "the version is Kubernetes'" says "Server Version: v1.36.0" kubectl version

# Writing.
cat > "$tmp/app.yaml" <<'T'
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, labels: {app: app}}
spec:
  replicas: 1
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: app, image: "kinit.local/web:1", env: [{name: ROUND, value: "1"}]}]
T
check "an object is created" kubectl create configmap settings --from-literal color=red
check "and read" equals red kubectl get configmap settings -o 'jsonpath={.data.color}'
check "an unknown field is refused" refuses 'unknown field "spec.replicaz"' bash -c "sed 's/replicas/replicaz/' $tmp/app.yaml | kubectl --kubeconfig $KUBECONFIG create -f -"
check "a file is applied" kubectl apply -f "$tmp/app.yaml"
check "and applied again without a change" says unchanged kubectl apply -f "$tmp/app.yaml"
check "the rollout ends" kubectl rollout status deployment/app --timeout 60s
check "a file is applied on the server" kubectl apply --server-side --force-conflicts -f "$tmp/app.yaml"
check "another manager's field is a conflict" refuses conflict bash -c "sed 's/replicas: 1/replicas: 3/' $tmp/app.yaml | kubectl --kubeconfig $KUBECONFIG apply --server-side --field-manager other -f -"
check "it is scaled" kubectl scale deployment app --replicas 2
check "and has two Pods" kubectl wait deployment/app --for 'jsonpath={.status.availableReplicas}=2' --timeout 60s
check "a patch edits it" kubectl patch deployment app -p '{"spec":{"template":{"spec":{"containers":[{"name":"app","env":[{"name":"ROUND","value":"2"}]}]}}}}'
check "the new template rolls out" kubectl rollout status deployment/app --timeout 60s
check "history has both" says 2 kubectl rollout history deployment/app
check "it is rolled back" kubectl rollout undo deployment/app
check "the rollback rolls out" kubectl rollout status deployment/app --timeout 60s
check "the first template is back" equals 1 kubectl get deployment app -o 'jsonpath={.spec.template.spec.containers[0].env[0].value}'
check "it is labeled" kubectl label deployment app tier=front
check "and found by the label" equals deployment.apps/app kubectl get deployments -l tier=front -o name
check "it is deleted" kubectl delete deployment app --timeout 60s
check "with its Pods" kubectl wait pods -l app=app --for delete --timeout 60s

# Pods.
check "a command runs in a Pod" names_a_pod kubectl exec "$(pod_of w1)" -- hostname
check "with input" equals hello bash -c "echo hello | kubectl --kubeconfig $KUBECONFIG exec -i $(pod_of w2) -- cat"
check "its exit code comes back" equals 7 bash -c "kubectl --kubeconfig $KUBECONFIG exec $(pod_of w1) -- sh -c 'exit 7' 2> /dev/null; echo \$?"
# It speaks when it is spoken to: what is said before anybody is attached is never heard, here as anywhere.
check "a Pod is run and heard to its end" says "line 3" bash -c "echo go | kubectl --kubeconfig $KUBECONFIG run talk --image kinit.local/web:1 --restart Never -i --rm --command -- sh -c 'read go; for i in 1 2 3; do echo \"line \$i\"; sleep 0.3; done'"
kubectl run logs --image kinit.local/web:1 --restart Never --command -- sh -c 'for i in 1 2 3; do echo "line $i"; sleep 0.5; done' > /dev/null 2>&1
check "a Pod starts" kubectl wait pod/logs --for 'jsonpath={.status.phase}=Running' --timeout 30s
check "its log is followed to the end" says "line 3" kubectl logs -f logs
check "it ends" kubectl wait pod/logs --for 'jsonpath={.status.phase}=Succeeded' --timeout 30s
check "it is deleted" kubectl delete pod logs --timeout 30s
kubectl port-forward "$(pod_of w1)" 18080:8080 > "$tmp/forward" 2>&1 &
check "a port is forwarded" within 10 answers http://127.0.0.1:18080/cgi-bin/name
kill $!

# Services.
ip=$(kubectl get service web -o 'jsonpath={.spec.clusterIP}')
for host in w1 w2; do
  check "the ClusterIP answers from a Pod on $host" names_a_pod from_pod $host "http://$ip/cgi-bin/name"
  check "the Service's name answers from a Pod on $host" names_a_pod from_pod $host http://web/cgi-bin/name
  check "and its whole name" names_a_pod from_pod $host http://web.default.svc.cluster.local/cgi-bin/name
done
check "the ClusterIP answers on cp1" names_a_pod from_host cp1 "$ip"
for address in 10.88.0.11 10.88.0.21 10.88.0.22; do
  check "the node port answers at $address" answers "http://$address:30080/cgi-bin/name"
done
check "a Pod's token is its ServiceAccount" says system:serviceaccount:default:default whoami "$(pod_of w2)"
finish
