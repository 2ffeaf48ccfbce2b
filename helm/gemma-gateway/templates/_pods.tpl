{{/* Parts of pods that several templates share. */}}

{{/* Where a pod may run: (dict "root" $ "values" .Values.gateway "selector" (dict …)) */}}
{{- define "gg.placement" -}}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if eq (toString .values.topologySpreadConstraints) "<nil>" }}
topologySpreadConstraints:
  {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "gg.selector" $.selector | nindent 8 }}
  {{- end }}
{{- else if .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml .values.topologySpreadConstraints | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Seconds from preStop to SIGKILL: the wait, the drain, and what it takes to close. */}}
{{- define "gg.gatewayGraceSeconds" -}}
{{- default (add .Values.gateway.preStopSeconds (ceil .Values.config.server.drain_s) 10) .Values.gateway.terminationGracePeriodSeconds -}}
{{- end -}}

{{- define "gg.readinessPath" -}}
{{- if ne .Values.gateway.readinessPath "auto" -}}
{{- .Values.gateway.readinessPath -}}
{{- else -}}
{{- ternary "/readyz" "/healthz" (and (eq (len .Values.models) 1) (not (include "gg.scalesToZero" .))) -}}
{{- end -}}
{{- end -}}

{{/* Whether any model may have no engine at all. */}}
{{- define "gg.scalesToZero" -}}
{{- range $model := .Values.models -}}
{{- if hasKey $model "engine" -}}
{{- $engine := include "gg.engine" (dict "root" $ "model" $model) | fromJson -}}
{{- if and $engine.autoscaling.enabled (eq (int $engine.autoscaling.minReplicas) 0) -}}true{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Requests that found no engine of a model, those included that another model answered: (dict "root" $ "model" name) */}}
{{- define "gg.demandQuery" -}}
(sum(increase(gateway_requests_total{namespace={{ .root.Release.Namespace | quote }},model={{ .model | quote }},status="503"}[2m])) or vector(0)) + (sum(increase(gateway_fallbacks_total{namespace={{ .root.Release.Namespace | quote }},model={{ .model | quote }}}[2m])) or vector(0))
{{- end -}}
