#!/bin/bash
# CustomResourceDefinitions: what becomes of them, and of the objects that they define.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/api.sh"

field() { kubectl get "$1" -o "jsonpath={$2}"; }
foo() { printf '{"apiVersion":"example.com/v1","kind":"Foo","metadata":{"name":"%s"},"spec":%s}' "$1" "$2"; }
create() { foo "$@" | kubectl create -f -; }

cat > "$tmp/crd.yaml" <<'T'
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: foos.example.com}
spec:
  group: example.com
  names: {plural: foos, kind: Foo, shortNames: [fo], categories: [all]}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}}
    selectableFields: [{jsonPath: .spec.color}]
    additionalPrinterColumns: [{name: Color, type: string, jsonPath: .spec.color}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [color]
            properties: {color: {type: string, enum: [red, blue]}, replicas: {type: integer, default: 1}}
          status: {type: object, properties: {replicas: {type: integer}}}
  - name: v1beta1
    served: true
    storage: false
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
T

start_control_plane
check "a definition without a domain is refused" refuses 'should be a domain with at least one dot' kubectl create -f <(sed 's/example.com/example/g' "$tmp/crd.yaml")
check "a definition is created" kubectl create -f "$tmp/crd.yaml"
check "and established" kubectl wait --for=condition=established --timeout=10s crd/foos.example.com
check "an object is created" within 5 create a '{"color":"red"}'
check "with defaults" equals 1 field foo/a .spec.replicas
check "values are checked" refuses 'spec.color: Unsupported value: "green": supported values: "red", "blue"' create b '{"color":"green"}'
check "unknown fields are refused" refuses 'unknown field "spec.other"' create b '{"color":"red","other":1}'
check "tables have the definition's columns" says 'a     red' kubectl get fo --no-headers
check "fields select" says 'a     red' kubectl get foos --field-selector spec.color=red --no-headers
check "other versions show the same object" says 'example.com/v1beta1' kubectl get foos.v1beta1.example.com a -o 'jsonpath={.apiVersion}'
check "it is scaled" kubectl scale foo a --replicas=3
check "which counts a generation" equals '3 2' kubectl get foo a -o 'jsonpath={.spec.replicas} {.metadata.generation}'
check "its schema is explained" says 'enum: red, blue' kubectl explain foos.spec
check "and what every object has" says "APIVersion defines" kubectl explain foos
check "and its metadata" says "Standard object's metadata" kubectl explain foos.metadata
check "the definition goes" kubectl delete crd foos.example.com --timeout=20s
check "and its objects with it" refuses 'Error' kubectl get --raw /apis/example.com/v1/foos

finish
