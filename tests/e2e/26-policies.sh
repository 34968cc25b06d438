#!/bin/bash
# Expressions: admission policies that refuse, warn and change, and the rules of custom resources.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/api.sh"

rules='[{apiGroups: [""], apiVersions: [v1], resources: [configmaps], operations: [CREATE, UPDATE]}]'
policy() {                  # a validating policy about ConfigMaps of namespaces with the label own=true: MORE-OF-SPEC
  cat <<T
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: few.example.com}
spec:
  matchConstraints: {resourceRules: $rules, namespaceSelector: {matchLabels: {own: "true"}}}
  $1
T
}
bind() {                    # KIND NAME POLICY MORE-OF-SPEC
  kubectl apply -f <(echo "{apiVersion: admissionregistration.k8s.io/v1, kind: $1, metadata: {name: $2}, spec: {policyName: $3, $4}}")
}
few='paramKind: {apiVersion: v1, kind: ConfigMap}
  variables: [{name: size, expression: "has(object.data) ? size(object.data) : 0"}]
  validations:
  - expression: variables.size <= int(params.data.most)
    messageExpression: "'\''at most '\'' + params.data.most + '\'' keys, not '\'' + string(variables.size)"'
good() { policy "$few" | kubectl apply -f -; }
bad() { policy "validations: [{expression: '$1'}]" | kubectl create --dry-run=server -f -; }
mutate() {
  cat <<T | kubectl apply -f -
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: mark.example.com}
spec:
  reinvocationPolicy: Never
  matchConstraints: {resourceRules: $rules}
  matchConditions: [{name: wanted, expression: "object.metadata.name.startsWith('mark')"}]
  mutations:
  - {patchType: ApplyConfiguration, applyConfiguration: {expression: 'Object{metadata: Object.metadata{labels: {"by": request.userInfo.username}}}'}}
  - {patchType: JSONPatch, jsonPatch: {expression: '[JSONPatch{op: "add", path: "/metadata/annotations", value: {"seen": "yes"}}]'}}
T
}
definition() {
  cat <<T | kubectl apply -f -
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: knobs.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: knobs, kind: Knob}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {level: {type: integer}}
            x-kubernetes-validations: [{rule: "$1", message: "${2:-}"}, {rule: "self.level >= oldSelf.level"}]
T
}
knob() { kubectl apply -f <(echo "{apiVersion: example.com/v1, kind: Knob, metadata: {name: k}, spec: {level: $1}}"); }

start_control_plane
check "a namespace with a label" kubectl create -f <(echo '{apiVersion: v1, kind: Namespace, metadata: {name: own, labels: {own: "true"}}}')

check "an expression that cannot be read is refused" refuses "Syntax error" bad 'object.x ='
check "one of another type too" refuses "must evaluate to bool but got int" bad '1 + 1'
check "a policy" good
check "its parameters" kubectl create configmap most --from-literal most=2
check "and its binding" bind ValidatingAdmissionPolicyBinding few few.example.com \
  'validationActions: [Deny], paramRef: {name: most, namespace: default, parameterNotFoundAction: Deny}'
check "a write that it does not want is refused" within 10 refuses "denied request: at most 2 keys, not 3" \
  kubectl create configmap many -n own --from-literal a=1 --from-literal b=2 --from-literal c=3 --dry-run=server
check "one that it wants is not" kubectl create configmap some -n own --from-literal a=1
check "nor one in another namespace" kubectl create configmap many --from-literal a=1 --from-literal b=2 --from-literal c=3
check "the binding only warns" bind ValidatingAdmissionPolicyBinding few few.example.com \
  'validationActions: [Warn], paramRef: {name: most, namespace: default, parameterNotFoundAction: Deny}'
check "and the client hears it" within 10 says "Warning: Validation failed for ValidatingAdmissionPolicy 'few.example.com' with binding 'few'" \
  kubectl create configmap many -n own --from-literal a=1 --from-literal b=2 --from-literal c=3 --dry-run=server

check "a policy that changes" mutate
check "and its binding" bind MutatingAdmissionPolicyBinding mark mark.example.com ''
marked() { equals 'admin yes' kubectl create configmap marked --dry-run=server -o 'jsonpath={.metadata.labels.by} {.metadata.annotations.seen}'; }
check "objects are changed" within 10 marked
check "unless its condition says no" equals '' kubectl create configmap plain --dry-run=server -o 'jsonpath={.metadata.labels}'

check "a rule about a field that is not there is refused" refuses "undefined field 'height'" definition 'self.height > 1'
check "a definition with rules" definition 'self.level > 0' 'the level is positive'
check "is established" kubectl wait --for condition=Established crd/knobs.example.com --timeout 10s
check "its rules hold" within 10 refuses "spec: Invalid value: the level is positive|spec: Invalid value: \"object\": the level is positive" knob 0
check "an object that follows them" knob 5
check "may not go back" refuses "failed rule: self.level >= oldSelf.level" knob 4
check "but on" knob 6

finish
