{{/* Refuses what can't work, each with what to do about it; all problems at once. What is only a wrong type or an
unknown key is values.schema.json's business. */}}

{{- define "gg.validations" -}}
{{- $problems := concat
      (include "gg.gatewayProblems" . | fromJsonArray)
      (include "gg.secretProblems" . | fromJsonArray)
      (include "gg.modelProblems" . | fromJsonArray)
      (include "gg.outsideProblems" . | fromJsonArray) -}}
{{- if $problems -}}
{{- printf "\n\nThese values can't work:\n  - %s\n" (join "\n  - " $problems) | fail -}}
{{- end -}}
{{- end -}}

{{- define "gg.gatewayProblems" -}}
{{- $found := list -}}
{{- $gateway := .Values.gateway -}}
{{- $scaled := or $gateway.autoscaling.hpa.enabled $gateway.autoscaling.keda.enabled -}}
{{- $redis := or .Values.redis.enabled (default (dict) .Values.config.redis).url -}}
{{- $many := or $scaled (gt (int $gateway.replicas) 1) (gt (int .Values.config.server.workers) 1) -}}
{{- if and $many (not $redis) -}}
{{- $found = append $found "gateway: more than one replica or process needs Redis, or each would count limits alone: set config.redis.url, or redis.enabled for a trial" -}}
{{- end -}}
{{- if and $gateway.autoscaling.hpa.enabled $gateway.autoscaling.keda.enabled -}}
{{- $found = append $found "gateway.autoscaling: hpa and keda would fight over the same Deployment: enable one of them" -}}
{{- end -}}
{{- range $kind, $scaler := $gateway.autoscaling -}}
{{- if and $scaler.enabled (gt (int $scaler.minReplicas) (int $scaler.maxReplicas)) -}}
{{- $found = append $found (printf "gateway.autoscaling.%s: minReplicas is more than maxReplicas" $kind) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.redis.enabled (default (dict) .Values.config.redis).url -}}
{{- $found = append $found "redis.enabled puts a Redis into the release, config.redis.url names another one: choose" -}}
{{- end -}}
{{- $needed := add $gateway.preStopSeconds (ceil .Values.config.server.drain_s) 5 -}}
{{- if lt (int (include "gg.gatewayGraceSeconds" .)) (int $needed) -}}
{{- $found = append $found (printf "gateway.terminationGracePeriodSeconds must be %v or more: preStopSeconds %v, config.server.drain_s %v, and 5 to close; streams would be cut" $needed $gateway.preStopSeconds .Values.config.server.drain_s) -}}
{{- end -}}
{{- if and (not .Values.config.tenants) (not (has "--no-auth" $gateway.extraArgs)) -}}
{{- $found = append $found "config.tenants: without a tenant nobody could use the gateway" -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* Every ${NAME} of the gateway's file has to come from somewhere. */}}
{{- define "gg.secretProblems" -}}
{{- $found := list -}}
{{- $secrets := .Values.secrets -}}
{{- $sources := list -}}
{{- if $secrets.existingSecret -}}{{- $sources = append $sources "existingSecret" -}}{{- end -}}
{{- if $secrets.create -}}{{- $sources = append $sources "create" -}}{{- end -}}
{{- if $secrets.externalSecret.enabled -}}{{- $sources = append $sources "externalSecret" -}}{{- end -}}
{{- if gt (len $sources) 1 -}}
{{- $found = append $found (printf "secrets: %s exclude each other" (join ", " $sources)) -}}
{{- end -}}
{{- if and $secrets.externalSecret.enabled (not $secrets.externalSecret.secretStoreRef.name) -}}
{{- $found = append $found "secrets.externalSecret.secretStoreRef.name: which store?" -}}
{{- end -}}
{{- $open := or $secrets.existingSecret (and $secrets.externalSecret.enabled $secrets.externalSecret.dataFrom) -}}
{{- $known := keys $secrets.create -}}
{{- if $secrets.externalSecret.enabled -}}
{{- range $secrets.externalSecret.data -}}{{- $known = append $known .secretKey -}}{{- end -}}
{{- end -}}
{{- range .Values.gateway.env -}}{{- $known = append $known .name -}}{{- end -}}
{{- if not $open -}}
{{- $text := include "gg.config" . | replace "$$" "" -}}
{{- $wanted := regexFindAll "\\$\\{[A-Za-z_][A-Za-z0-9_]*\\}" $text -1 -}}
{{- if .Values.redis.passwordVariable -}}{{- $wanted = append $wanted (printf "${%s}" .Values.redis.passwordVariable) -}}{{- end -}}
{{- range $wanted | uniq -}}
{{- $name := trimPrefix "${" . | trimSuffix "}" -}}
{{- if not (has $name $known) -}}
{{- $found = append $found (printf "secrets: nothing supplies %s, which the configuration asks for: name a Secret that has it in secrets.existingSecret (kubectl create secret generic gateway-keys --from-literal=%s=...), or use secrets.externalSecret or secrets.create" $name $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "gg.modelProblems" -}}
{{- $found := list -}}
{{- if not .Values.models -}}
{{- $found = append $found "models: name at least one, such as --set 'models[0].name=google/gemma-3-4b-it' --set-json 'models[0].engine={}'; examples/ has whole files" -}}
{{- end -}}
{{- $slugs := dict -}}
{{- range $model := .Values.models -}}
{{- $place := printf "models (%s)" $model.name -}}
{{- $variant := include "gg.variant" (dict "root" $ "model" $model) | fromJson -}}
{{- if not $variant -}}
{{- $found = append $found (printf "%s: which Gemma is it? Set `variant`, such as gemma-3-4b-it (files/catalog.json has them all)" $place) -}}
{{- else if gt (int (default 0 $model.context_length)) (int $variant.context_tokens) -}}
{{- $found = append $found (printf "%s: context_length %v is beyond the %v tokens of %s" $place $model.context_length $variant.context_tokens $variant.variant) -}}
{{- end -}}
{{- if not (or (hasKey $model "engine") $model.workers) -}}
{{- $found = append $found (printf "%s: nobody serves it: `engine: {}` runs vLLM in this release, `workers` names servers elsewhere" $place) -}}
{{- end -}}
{{- if and $variant (hasKey $model "engine") -}}
{{- $engine := include "gg.engine" (dict "root" $ "model" $model) | fromJson -}}
{{- if hasKey $slugs $engine.slug -}}
{{- $found = append $found (printf "%s: its objects would be named as those of %s" $place (index $slugs $engine.slug)) -}}
{{- end -}}
{{- $_ := set $slugs $engine.slug $model.name -}}
{{- range include "gg.engineProblems" (dict "root" $ "engine" $engine) | fromJsonArray -}}
{{- $found = append $found (printf "%s: engine: %s" $place .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "gg.engineProblems" -}}
{{- $found := list -}}
{{- $engine := .engine -}}
{{- $variant := $engine.variant -}}
{{- $cpu := eq $engine.accelerator "cpu" -}}
{{- $needed := add $engine.preStopSeconds $engine.shutdownTimeoutSeconds 5 -}}
{{- if lt (int $engine.graceSeconds) (int $needed) -}}
{{- $found = append $found (printf "terminationGracePeriodSeconds must be %v or more: preStopSeconds %v, shutdownTimeoutSeconds %v, and 5 to close" $needed $engine.preStopSeconds $engine.shutdownTimeoutSeconds) -}}
{{- end -}}
{{- if and $engine.lora.modules (not $variant.lora) -}}
{{- $found = append $found (printf "vLLM can't serve LoRA adapters of %s" $variant.variant) -}}
{{- end -}}
{{- range $kind, $limit := dict "image" $engine.multimodal.images "audio" $engine.multimodal.audios "video" $engine.multimodal.videos -}}
{{- if and (gt (int $limit) 0) (not (has $kind $variant.modalities)) -}}
{{- $found = append $found (printf "multimodal: %s takes no %s" $variant.variant $kind) -}}
{{- end -}}
{{- end -}}
{{- if and $cpu (ne $engine.level "performance") -}}
{{- $found = append $found (printf "level %s is for GPUs; a CPU computes with the weights as published" $engine.level) -}}
{{- end -}}
{{- if and $cpu (or $engine.multiNode.enabled (gt (int $engine.tensorParallel) 1) (gt (int $engine.pipelineParallel) 1)) -}}
{{- $found = append $found "tensorParallel, pipelineParallel and multiNode are for GPUs" -}}
{{- end -}}
{{- if and (eq $engine.level "efficiency") (not $engine.facts.fourBitCheckpoint) (eq $engine.checkpoint (printf "google/%s" $variant.variant)) -}}
{{- $found = append $found (printf "level efficiency needs a checkpoint with 4-bit weights: no published one of %s is known here, name it as `checkpoint`" $variant.variant) -}}
{{- end -}}
{{- if and $engine.gpu.memoryGb $engine.weightsGb (not $cpu) -}}
{{- $room := mulf (float64 $engine.gpu.memoryGb) (float64 $engine.gpuMemoryUtilization) (float64 (mul $engine.tensorParallel $engine.pipelineParallel)) -}}
{{- if gt (mulf 1.1 (float64 $engine.weightsGb)) $room -}}
{{- $found = append $found (printf "%v GB of weights (%s, level %s) and a cache don't fit into %.1f GB of GPU memory: raise tensorParallel, or lower the level" $engine.weightsGb $variant.variant $engine.level $room) -}}
{{- end -}}
{{- end -}}
{{- if and (eq (int $engine.gpu.count) 0) (not $cpu) -}}
{{- $found = append $found "gpu.count is 0: say `accelerator: cpu` for an engine without a GPU" -}}
{{- end -}}
{{- if and $engine.multiNode.enabled (eq $variant.family "gemma3n") -}}
{{- $found = append $found "Gemma 3n has no pipeline parallelism in vLLM, so not on several nodes" -}}
{{- end -}}
{{- if and $engine.autoscaling.enabled (not .root.Values.prometheus.address) -}}
{{- $found = append $found "autoscaling asks Prometheus: set prometheus.address" -}}
{{- end -}}
{{- if and $engine.autoscaling.enabled (gt (int $engine.autoscaling.minReplicas) (int $engine.autoscaling.maxReplicas)) -}}
{{- $found = append $found "autoscaling: minReplicas is more than maxReplicas" -}}
{{- end -}}
{{- if and $engine.inferencePool.enabled (not $engine.inferencePool.endpointPicker.name) -}}
{{- $found = append $found "inferencePool.endpointPicker.name: which Service picks?" -}}
{{- end -}}
{{- $volume := $engine.cache.persistentVolume -}}
{{- if and $engine.cache.existingClaim $volume.enabled -}}
{{- $found = append $found "cache: existingClaim and persistentVolume exclude each other" -}}
{{- end -}}
{{- if and $engine.cache.download.enabled (not $engine.claim) -}}
{{- $found = append $found "cache.download needs a volume: persistentVolume.enabled or existingClaim" -}}
{{- end -}}
{{- if and $engine.cache.download.enabled (or $engine.local .root.Values.hub.offline) -}}
{{- $found = append $found "cache.download has nothing to fetch: the checkpoint is a path, or hub.offline is set" -}}
{{- end -}}
{{- $several := or (gt (int $engine.replicas) 1) $engine.autoscaling.enabled $engine.multiNode.enabled -}}
{{- if and $volume.enabled $several (not (has "ReadWriteMany" $volume.accessModes)) -}}
{{- $found = append $found "cache.persistentVolume: pods on several nodes need ReadWriteMany" -}}
{{- end -}}
{{- if and $engine.apiKeyVariable (not (include "gg.hasSecret" .root)) -}}
{{- $found = append $found "apiKeyVariable: there is no Secret under `secrets`" -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "gg.outsideProblems" -}}
{{- $found := list -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- $found = append $found "ingress.hosts: for which names?" -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- $found = append $found "httpRoute.parentRefs: at which Gateway?" -}}
{{- end -}}
{{- if and .Values.exposeAdmin (not (default (dict) .Values.config.admin).key) -}}
{{- $found = append $found "exposeAdmin: there is no /admin without config.admin.key" -}}
{{- end -}}
{{- if and .Values.gateway.autoscaling.keda.enabled (not .Values.prometheus.address) -}}
{{- $found = append $found "gateway.autoscaling.keda asks Prometheus: set prometheus.address" -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}
