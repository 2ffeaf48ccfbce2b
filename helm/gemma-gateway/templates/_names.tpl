{{/* Names and labels. Every object is `RELEASE[-gemma-gateway][-part]`. */}}

{{- define "gg.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "gg.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "gg.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "gg.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* A model's name as part of an object's name: `google/gemma-3-4b-it` → `gemma-3-4b-it`. At most 22 characters, so
that 40 of the release, a dash and a suffix fit into 63-character names of pods' owners; longer ones end in a digest. */}}
{{- define "gg.slug" -}}
{{- $plain := . | lower | splitList "/" | last -}}
{{- $plain = regexReplaceAll "[^a-z0-9]+" $plain "-" | trimAll "-" -}}
{{- if le (len $plain) 22 -}}
{{- $plain -}}
{{- else -}}
{{- printf "%s-%s" ($plain | trunc 17 | trimSuffix "-") (. | sha256sum | trunc 4) -}}
{{- end -}}
{{- end -}}

{{- define "gg.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: {{ include "gg.name" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels of pods: no version of the chart, so that a new chart alone doesn't load 27 billion parameters again. */}}
{{- define "gg.podLabels" -}}
app.kubernetes.io/part-of: {{ include "gg.name" . }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Labels that select the pods of one part; never change after the installation. (dict "root" $ "component" "engine" "model" slug) */}}
{{- define "gg.selector" -}}
app.kubernetes.io/name: {{ include "gg.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- with .model }}
gemma-gateway/model: {{ . }}
{{- end }}
{{- end -}}

{{/* Metadata of an object of one part: (dict "root" $ "component" "gateway" "name" "…" "annotations" (dict)) */}}
{{- define "gg.metadata" -}}
name: {{ .name }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "gg.selector" . | nindent 2 }}
  {{- include "gg.labels" .root | nindent 2 }}
  {{- with .labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with merge (dict) (default (dict) .annotations) (default (dict) .root.Values.commonAnnotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* `repository:tag`, or `repository@digest`: (dict "image" .Values.gateway.image "tag" "default") */}}
{{- define "gg.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (default .tag .image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "gg.secretName" -}}
{{- if .Values.secrets.existingSecret -}}
{{- tpl .Values.secrets.existingSecret . -}}
{{- else -}}
{{- printf "%s-secrets" (include "gg.fullname" .) -}}
{{- end -}}
{{- end -}}

{{- define "gg.hasSecret" -}}
{{- if or .Values.secrets.existingSecret .Values.secrets.create .Values.secrets.externalSecret.enabled -}}true{{- end -}}
{{- end -}}

{{/* Whether the gateway asks the API server for this release's engines. */}}
{{- define "gg.watchesEngines" -}}
{{- if eq .Values.gateway.engineDiscovery "kubernetes" -}}
{{- range $model := .Values.models -}}
{{- if hasKey $model "engine" -}}true{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "gg.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "gg.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}
