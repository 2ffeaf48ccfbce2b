{{/* PromQL that several alerts share. `$of` are the series of this release's gateway. */}}

{{- define "gg.series" -}}
namespace={{ .Release.Namespace | quote }},service={{ include "gg.fullname" . | quote }}
{{- end -}}

{{/* Share of requests that failed on our side over a range: (dict "root" $ "range" "5m"). Nothing asked, nothing failed. */}}
{{- define "gg.errorRatio" -}}
{{- $of := include "gg.series" .root -}}
(sum(rate(gateway_requests_total{ {{- $of }},status=~"5.."}[{{ .range }}])) or vector(0)) / (sum(rate(gateway_requests_total{ {{- $of }}}[{{ .range }}])) > 0)
{{- end -}}

{{/* Both windows burn the error budget faster than `factor`: (dict "root" $ "long" "1h" "short" "5m" "factor" 14.4) */}}
{{- define "gg.burns" -}}
{{- $bound := mulf (subf 1.0 (float64 .root.Values.monitoring.prometheusRule.objective)) (float64 .factor) | printf "%.6g" -}}
({{ include "gg.errorRatio" (dict "root" .root "range" .long) }}) > {{ $bound }}
and
({{ include "gg.errorRatio" (dict "root" .root "range" .short) }}) > {{ $bound }}
{{- end -}}
