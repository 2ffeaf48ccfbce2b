{{/* One model's engine, resolved: values, catalogue and level become names, flags and numbers. */}}

{{/* The catalogue's entry of a model as JSON, `{}` when there is none: (dict "root" $ "model" $model). As the gateway
guesses it: the longest spelling that the name, without its owner, begins with. */}}
{{- define "gg.variant" -}}
{{- $catalog := .root.Files.Get "files/catalog.json" | fromJson -}}
{{- $base := default .model.name .model.variant | lower | splitList "/" | last -}}
{{- $found := "" -}}
{{- range $spelling, $name := $catalog.spellings -}}
{{- $rest := trimPrefix $spelling $base -}}
{{- if and (hasPrefix $spelling $base) (gt (len $spelling) (len $found)) (or (eq $rest "") (regexMatch "^[-_.:@]" $rest)) -}}
{{- $found = $spelling -}}
{{- end -}}
{{- end -}}
{{- if $found -}}
{{- index $catalog.variants (index $catalog.spellings $found) | toJson -}}
{{- else -}}
{}
{{- end -}}
{{- end -}}

{{/* Everything that templates ask of an engine, as JSON: (dict "root" $ "model" $model) */}}
{{- define "gg.engine" -}}
{{- $engine := mergeOverwrite (deepCopy .root.Values.engineDefaults) (deepCopy (default (dict) .model.engine)) -}}
{{- $variant := include "gg.variant" . | fromJson -}}
{{- $slug := include "gg.slug" .model.name -}}
{{- $launch := .root.Files.Get "files/launch.yaml" | fromYaml -}}
{{- $facts := mergeOverwrite (dict) (default (dict) (index $launch.families (default "" $variant.family))) (default (dict) (index $launch.variants (default "" $variant.variant))) -}}
{{- $_ := set $engine "slug" $slug -}}
{{- $_ = set $engine "name" (printf "%s-%s" (include "gg.fullname" .root) $slug) -}}
{{- $short := $engine.name -}}
{{- if gt (len $short) 58 -}}
{{- $short = printf "%s-%s" ($short | trunc 53 | trimSuffix "-") ($short | sha256sum | trunc 4) -}}
{{- end -}}
{{- $_ = set $engine "podsName" (printf "%s-pods" $short) -}}
{{- $_ = set $engine "servedName" (default .model.name .model.served_name) -}}
{{- $_ = set $engine "variant" $variant -}}
{{- $_ = set $engine "facts" $facts -}}
{{- $published := printf "google/%s" (ternary (splitList "/" .model.name | last) (default "" $variant.variant) (contains "/" .model.name)) -}}
{{- if and (contains "/" .model.name) (not (hasPrefix "google/" .model.name)) -}}
{{- $published = .model.name -}}
{{- else if and (eq $engine.level "efficiency") $facts.fourBitCheckpoint -}}
{{- $published = $facts.fourBitCheckpoint -}}
{{- end -}}
{{- $_ = set $engine "checkpoint" (default $published $engine.checkpoint) -}}
{{- $_ = set $engine "local" (hasPrefix "/" $engine.checkpoint) -}}
{{- $cache := $engine.cache -}}
{{- $_ = set $engine "claim" (default (ternary (printf "%s-weights" $engine.name) "" $cache.persistentVolume.enabled) $cache.existingClaim) -}}
{{- $_ = set $engine "weightsFolder" (printf "/weights/%s-%s" $slug (printf "%s@%s" $engine.checkpoint $engine.revision | sha256sum | trunc 8)) -}}
{{- $_ = set $engine "fetchesWeights" (not (or $engine.local $cache.download.enabled .root.Values.hub.offline)) -}}
{{- $_ = set $engine "owner" (ternary (dict "apiVersion" "leaderworkerset.x-k8s.io/v1" "kind" "LeaderWorkerSet") (dict "apiVersion" "apps/v1" "kind" "Deployment") $engine.multiNode.enabled) -}}
{{- if $engine.multiNode.enabled -}}
{{- $_ = set $engine "pipelineParallel" $engine.multiNode.size -}}
{{- end -}}
{{- $_ = set $engine "contextLength" (default "auto" .model.context_length) -}}
{{- $precision := index (dict "performance" "bf16" "balanced" "8-bit" "efficiency" "4-bit") $engine.level -}}
{{- $_ = set $engine "weightsGb" (default 0 (index (default (dict) $variant.memory_gb) $precision)) -}}
{{- if eq (toString $engine.gpu.count) "<nil>" -}}
{{- $_ = set $engine.gpu "count" (mul $engine.tensorParallel (ternary 1 $engine.pipelineParallel $engine.multiNode.enabled)) -}}
{{- end -}}
{{- if eq (toString $engine.gpuMemoryUtilization) "<nil>" -}}
{{- $_ = set $engine "gpuMemoryUtilization" 0.92 -}}
{{- end -}}
{{- if eq (toString $engine.maxNumSeqs) "<nil>" -}}
{{- $_ = set $engine "maxNumSeqs" (default (index (dict "performance" 256 "balanced" 128 "efficiency" 64) $engine.level) $facts.maxNumSeqs) -}}
{{- end -}}
{{- if eq (toString $engine.startupSeconds) "<nil>" -}}
{{- $_ = set $engine "startupSeconds" (ternary 3600 1200 (gt (float64 $engine.weightsGb) 20.0)) -}}
{{- end -}}
{{- if eq $engine.schedulingPolicy "auto" -}}
{{- $policy := "fcfs" -}}
{{- range default (list) .root.Values.config.tenants -}}
{{- if .priority -}}{{- $policy = "priority" -}}{{- end -}}
{{- end -}}
{{- $_ = set $engine "schedulingPolicy" $policy -}}
{{- end -}}
{{- $_ = set $engine "graceSeconds" (default (add $engine.preStopSeconds $engine.shutdownTimeoutSeconds 15) $engine.terminationGracePeriodSeconds) -}}
{{- $image := ternary $engine.cpuImage $engine.image (eq $engine.accelerator "cpu") -}}
{{- $_ = set $engine "resolvedImage" (dict "ref" (include "gg.image" (dict "image" $image "tag" "latest")) "pullPolicy" $image.pullPolicy) -}}
{{- $_ = set $engine "args" (include "gg.engineArgs" $engine | fromJsonArray) -}}
{{- toJson $engine -}}
{{- end -}}

{{/* What follows `vllm serve`, as a JSON list. No tool or reasoning parser: the gateway translates. */}}
{{- define "gg.engineArgs" -}}
{{- $args := list (ternary .weightsFolder .checkpoint .cache.download.enabled) "--served-model-name" .servedName "--host" "0.0.0.0" "--port" (toString .port) -}}
{{- $args = concat $args (list "--max-model-len" (toString .contextLength) "--max-num-seqs" (toString .maxNumSeqs)) -}}
{{- if and .revision .fetchesWeights -}}{{- $args = concat $args (list "--revision" .revision) -}}{{- end -}}
{{- $args = concat $args (list "--dtype" "bfloat16" "--shutdown-timeout" (toString .shutdownTimeoutSeconds)) -}}
{{- if eq .accelerator "cpu" -}}
{{- $args = append $args "--enforce-eager" -}}
{{- else -}}
{{- $args = concat $args (list "--gpu-memory-utilization" (toString .gpuMemoryUtilization)) -}}
{{- if eq .level "balanced" -}}{{- $args = concat $args (list "--quantization" "fp8") -}}{{- end -}}
{{- if gt (int .tensorParallel) 1 -}}{{- $args = concat $args (list "--tensor-parallel-size" (toString .tensorParallel)) -}}{{- end -}}
{{- if gt (int .pipelineParallel) 1 -}}{{- $args = concat $args (list "--pipeline-parallel-size" (toString .pipelineParallel)) -}}{{- end -}}
{{- end -}}
{{- with .maxNumBatchedTokens -}}{{- $args = concat $args (list "--max-num-batched-tokens" (toString .)) -}}{{- end -}}
{{- with .maxNumQueuedReqs -}}{{- $args = concat $args (list "--max-num-queued-reqs" (toString .)) -}}{{- end -}}
{{- if ne .schedulingPolicy "fcfs" -}}{{- $args = concat $args (list "--scheduling-policy" .schedulingPolicy) -}}{{- end -}}
{{- $args = append $args "--enable-prompt-tokens-details" -}}
{{- $args = concat $args (include "gg.engineMediaArgs" . | fromJsonArray) -}}
{{- with .lora.modules -}}
{{- $args = concat $args (list "--enable-lora" "--max-lora-rank" (toString $.lora.maxRank) "--max-loras" (toString $.lora.maxLoras) "--lora-modules") -}}
{{- range . -}}{{- $args = append $args (printf "%s=%s" .name .path) -}}{{- end -}}
{{- end -}}
{{- with .facts.hfOverrides -}}{{- $args = concat $args (list "--hf-overrides" (toJson .)) -}}{{- end -}}
{{- if .multiNode.enabled -}}
{{- $args = concat $args (list "--nnodes" (toString .multiNode.size) "--node-rank" "$(LWS_WORKER_INDEX)" "--master-addr" "$(LWS_LEADER_ADDRESS)") -}}
{{- end -}}
{{- with .facts.args -}}{{- $args = concat $args . -}}{{- end -}}
{{- concat $args .extraArgs | toJson -}}
{{- end -}}

{{- define "gg.engineMediaArgs" -}}
{{- $limits := dict -}}
{{- $ours := dict "image" .multimodal.images "audio" .multimodal.audios "video" .multimodal.videos -}}
{{- $usual := dict "image" 8 "audio" 4 "video" 1 -}}
{{- range $kind, $given := $ours -}}
{{- if has $kind $.variant.modalities -}}
{{- $_ := set $limits $kind (ternary (index $usual $kind) $given (eq (toString $given) "<nil>")) -}}
{{- end -}}
{{- end -}}
{{- if $limits -}}
{{- $domains := default (list "media.invalid") .multimodal.allowedDomains -}}
{{- concat (list "--limit-mm-per-prompt" (toJson $limits) "--allowed-media-domains") $domains | toJson -}}
{{- else -}}
[]
{{- end -}}
{{- end -}}
