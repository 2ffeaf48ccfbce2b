{{/* The gateway's configuration file: `config`, and `models` with the engines of this release among their workers. */}}

{{- define "gg.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- if .Values.redis.enabled -}}
{{- $_ := set $config "redis" (merge (dict "url" (include "gg.redisUrl" .)) (default (dict) $config.redis)) -}}
{{- end -}}
{{- $models := list -}}
{{- range $model := .Values.models -}}
{{- $entry := omit (deepCopy $model) "engine" -}}
{{- if hasKey $model "engine" -}}
{{- $engine := include "gg.engine" (dict "root" $ "model" $model) | fromJson -}}
{{- $worker := dict -}}
{{- if eq $.Values.gateway.engineDiscovery "dns" -}}
{{- $worker = dict "dns" $engine.podsName "port" $engine.port -}}
{{- else if eq $.Values.gateway.engineDiscovery "kubernetes" -}}
{{- $worker = dict "kubernetes" (dict "service" $engine.name "port" "http") -}}
{{- else -}}
{{- $worker = dict "url" (printf "http://%s:%v" $engine.name $engine.port) -}}
{{- end -}}
{{- with $engine.apiKeyVariable -}}
{{- $_ := set $worker "api_key" (printf "${%s}" .) -}}
{{- end -}}
{{- $_ := set $entry "workers" (append (default (list) $entry.workers) $worker) -}}
{{- end -}}
{{- $models = append $models $entry -}}
{{- end -}}
{{- $_ := set $config "models" $models -}}
{{- $clean := dict -}}
{{- range $key, $section := $config -}}
{{- if $section -}}{{- $_ := set $clean $key $section -}}{{- end -}}
{{- end -}}
{{- toYaml $clean -}}
{{- end -}}

{{- define "gg.redisUrl" -}}
{{- $host := printf "%s-redis:6379/0" (include "gg.fullname" .) -}}
{{- if .Values.redis.passwordVariable -}}
{{- printf "redis://:${%s}@%s" .Values.redis.passwordVariable $host -}}
{{- else -}}
{{- printf "redis://%s" $host -}}
{{- end -}}
{{- end -}}
