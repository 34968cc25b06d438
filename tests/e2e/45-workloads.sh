#!/bin/bash
# What runs on a cluster: volumes, Jobs, StatefulSets, CronJobs, DaemonSets, namespaces, drains, and a chart by the real helm.
# On the cluster of 40-cluster.
. "$(dirname "$0")/lib.sh"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

kubectl() { command kubectl --request-timeout 60s --cache-dir "$tmp/cache" "$@"; }
apply() { kubectl apply -f -; }
in_pod() { kubectl exec volumes -c main -- sh -c "$1"; }
count() { kubectl get "$@" --no-headers -o name | wc -l; }

# Volumes.
kubectl create configmap parts --from-literal color=red --from-literal size=big > /dev/null
kubectl create secret generic door --from-literal key=abc > /dev/null
check "a Pod with every kind of volume starts" apply <<'T'
apiVersion: v1
kind: Pod
metadata: {name: volumes, labels: {app: volumes}, annotations: {note: hello}}
spec:
  terminationGracePeriodSeconds: 1
  initContainers: [{name: first, image: "kinit.local/web:1", command: [sh, -c, "echo made > /scratch/file"], volumeMounts: [{name: scratch, mountPath: /scratch}]}]
  containers:
  - name: main
    image: kinit.local/web:1
    env:
    - {name: COLOR, valueFrom: {configMapKeyRef: {name: parts, key: color}}}
    - {name: KEY, valueFrom: {secretKeyRef: {name: door, key: key}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
    envFrom: [{configMapRef: {name: parts}, prefix: ALL_}]
    resources: {limits: {memory: 32Mi}}
    volumeMounts:
    - {name: scratch, mountPath: /scratch}
    - {name: settings, mountPath: /settings}
    - {name: door, mountPath: /door, readOnly: true}
    - {name: self, mountPath: /self}
    - {name: all, mountPath: /all}
    - {name: host, mountPath: /host, readOnly: true}
    - {name: memory, mountPath: /memory}
  volumes:
  - {name: scratch, emptyDir: {}}
  - {name: memory, emptyDir: {medium: Memory}}
  - {name: settings, configMap: {name: parts}}
  - {name: door, secret: {secretName: door, defaultMode: 256}}
  - {name: self, downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}}
  - {name: host, hostPath: {path: /etc, type: Directory}}
  - name: all
    projected: {sources: [{configMap: {name: parts}}, {secret: {name: door}}, {serviceAccountToken: {path: token, audience: somebody}}]}
T
check "it is ready" kubectl wait pod/volumes --for condition=Ready --timeout 60s
check "an init container ran before it" equals made in_pod 'cat /scratch/file'
check "a ConfigMap is files" equals "red big" in_pod 'echo $(cat /settings/color) $(cat /settings/size)'
check "a Secret is files with its mode" equals "abc 400" in_pod 'echo $(cat /door/key) $(stat -L -c %a /door/key)'
check "labels are a file" equals 'app="volumes"' in_pod 'cat /self/labels'
check "several sources are one folder" equals "color key size token" in_pod 'echo $(ls /all)'
check "a folder of the host is there" in_pod 'test -f /host/hostname'
check "memory is a volume" says tmpfs in_pod 'grep " /memory " /proc/mounts'
check "the environment is filled" equals "red abc $(kubectl get pod volumes -o 'jsonpath={.spec.nodeName}') 33554432 big" in_pod 'echo $COLOR $KEY $NODE $LIMIT $ALL_size'
kubectl patch configmap parts -p '{"data":{"color":"blue"}}' > /dev/null
check "a changed ConfigMap comes through" within 120 equals blue in_pod 'cat /settings/color'
check "it is deleted" kubectl delete pod volumes --timeout 60s

# Controllers.
check "a Job is made" kubectl create job sum --image kinit.local/web:1 -- sh -c 'echo $((6*7))'
check "it completes" kubectl wait job/sum --for condition=complete --timeout 60s
check "its log is read" equals 42 kubectl logs job/sum
check "a Job that fails says so" bash -c "printf 'apiVersion: batch/v1\nkind: Job\nmetadata: {name: fails}\nspec: {backoffLimit: 0, template: {spec: {restartPolicy: Never, containers: [{name: a, image: \"kinit.local/web:1\", command: [\"false\"]}]}}}\n' | kubectl --kubeconfig $KUBECONFIG apply -f -"
check "and fails" kubectl wait job/fails --for condition=failed --timeout 60s
check "a StatefulSet is made" apply <<'T'
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: db, image: "kinit.local/web:1", readinessProbe: {httpGet: {path: /cgi-bin/name, port: 8080}, periodSeconds: 1}}]}
T
check "its Pods come in order" kubectl rollout status statefulset/db --timeout 90s
check "with their names" equals "pod/db-0 pod/db-1" bash -c "kubectl --kubeconfig $KUBECONFIG get pods -l app=db -o name | xargs"
check "and are found by them" equals db-1 kubectl exec db-0 -- wget -qO- http://db-1.db:8080/cgi-bin/name
check "a volume that is on one node alone is made" apply <<'T'
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: later}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: on-w2}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: later
  local: {path: /var/tmp}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [w2]}]}]}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: later}
spec: {storageClassName: later, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
T
check "its claim waits for a Pod" within 30 says "waiting for first consumer" kubectl events --for pvc/later
check "the Pod is made" apply <<'T'
apiVersion: v1
kind: Pod
metadata: {name: consumer}
spec:
  terminationGracePeriodSeconds: 1
  containers: [{name: a, image: "kinit.local/web:1", volumeMounts: [{name: data, mountPath: /data}]}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: later}}]
T
check "and runs where the volume is" within 60 equals "Running w2" kubectl get pod consumer -o 'jsonpath={.status.phase} {.spec.nodeName}'
check "which the claim has now" equals on-w2 kubectl get pvc later -o 'jsonpath={.spec.volumeName}'
for what in pod/consumer pvc/later pv/on-w2 storageclass/later; do kubectl delete $what --timeout 60s > /dev/null; done
check "a CronJob is made" kubectl create cronjob tick --image kinit.local/web:1 --schedule '* * * * *' -- true
check "it is run by hand" kubectl create job tick-now --from cronjob/tick
check "and completes" kubectl wait job/tick-now --for condition=complete --timeout 60s
check "a DaemonSet runs on each worker" apply <<'T'
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: agent, image: "kinit.local/web:1"}]}
T
check "on both" kubectl rollout status daemonset/agent --timeout 60s
check "and on no other" equals 2 count pods -l app=agent

# Nodes.
check "w2 is drained" kubectl drain w2 --ignore-daemonsets --delete-emptydir-data --force --timeout 120s
check "it takes no Pods" equals true kubectl get node w2 -o 'jsonpath={.spec.unschedulable}'
check "its Pods are on w1" kubectl wait deployment/web --for 'jsonpath={.status.availableReplicas}=6' --timeout 90s
check "it takes Pods again" kubectl uncordon w2

# Namespaces, quotas and helm.
check "a namespace is made" kubectl create namespace box
check "things are put into it" bash -c "kubectl --kubeconfig $KUBECONFIG -n box create configmap a && kubectl --kubeconfig $KUBECONFIG -n box create deployment a --image kinit.local/web:1"
check "it is deleted with all in it" kubectl delete namespace box --timeout 90s
mkdir -p "$tmp/chart/templates"
printf 'apiVersion: v2\nname: demo\nversion: 0.1.0\n' > "$tmp/chart/Chart.yaml"
printf 'replicas: 1\n' > "$tmp/chart/values.yaml"
cat > "$tmp/chart/templates/all.yaml" <<'T'
apiVersion: apps/v1
kind: Deployment
metadata: {name: "{{ .Release.Name }}", labels: {app: "{{ .Release.Name }}"}}
spec:
  replicas: {{ .Values.replicas }}
  selector: {matchLabels: {app: "{{ .Release.Name }}"}}
  template:
    metadata: {labels: {app: "{{ .Release.Name }}"}}
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: web, image: "kinit.local/web:1"}]}
---
apiVersion: v1
kind: Service
metadata: {name: "{{ .Release.Name }}"}
spec: {selector: {app: "{{ .Release.Name }}"}, ports: [{port: 80, targetPort: 8080}]}
T
check "helm installs a chart" helm install demo "$tmp/chart" --wait --timeout 90s
check "helm upgrades it" helm upgrade demo "$tmp/chart" --set replicas=2 --wait --timeout 90s
check "to two replicas" equals 2 kubectl get deployment demo -o 'jsonpath={.status.availableReplicas}'
check "helm rolls it back" helm rollback demo 1 --wait --timeout 90s
check "to one" equals 1 kubectl get deployment demo -o 'jsonpath={.spec.replicas}'
check "helm lists it" says deployed helm list
check "helm removes it" helm uninstall demo --wait --timeout 90s
for what in job/sum job/fails job/tick-now cronjob/tick statefulset/db daemonset/agent; do kubectl delete $what --timeout 60s > /dev/null; done
check "all that was made is gone" within 60 equals "" kubectl get pods -l 'app in (db,agent,volumes,demo)' -o name
finish
