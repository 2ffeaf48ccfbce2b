{{/* The pod of an engine: (dict "root" $ "engine" $engine "selector" $selector). With `part`
"worker" it belongs to a LeaderWorkerSet and only computes: nothing listens in it. */}}
{{- define "gg.enginePod" -}}
{{- $engine := .engine -}}
{{- $worker := eq (default "" .part) "worker" -}}
automountServiceAccountToken: false
enableServiceLinks: false
terminationGracePeriodSeconds: {{ $engine.graceSeconds }}
{{- with $engine.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
{{ include "gg.placement" (dict "root" .root "values" $engine "selector" .selector) | trim }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml $engine.podSecurityContext | nindent 2 }}
{{- if $engine.cache.download.enabled }}
initContainers:
  - name: wait-for-weights
    image: {{ $engine.resolvedImage.ref | quote }}
    imagePullPolicy: {{ $engine.resolvedImage.pullPolicy }}
    command: [sh, -c, {{ printf "until [ -f %s/.complete ]; do sleep 5; done" $engine.weightsFolder | quote }}]
    resources:
      requests: {cpu: 10m, memory: 16Mi}
      limits: {memory: 64Mi}
    securityContext:
      {{- toYaml $engine.securityContext | nindent 6 }}
    volumeMounts:
      - {name: weights, mountPath: /weights, readOnly: true}
{{- end }}
containers:
  - name: engine
    image: {{ $engine.resolvedImage.ref | quote }}
    imagePullPolicy: {{ $engine.resolvedImage.pullPolicy }}
    command: [vllm, serve]
    args:
      {{- toYaml (ternary (append $engine.args "--headless") $engine.args $worker) | nindent 6 }}
    env:
      {{- include "gg.engineEnv" . | nindent 6 }}
    {{- if not $worker }}
    ports:
      - name: http
        containerPort: {{ $engine.port }}
        protocol: TCP
    startupProbe:
      httpGet: {path: /health, port: http}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: {{ div (add $engine.startupSeconds 9) 10 }}
    readinessProbe:
      httpGet: {path: /health, port: http}
      {{- toYaml $engine.readinessProbe | nindent 6 }}
    livenessProbe:
      httpGet: {path: /health, port: http}
      {{- toYaml $engine.livenessProbe | nindent 6 }}
    {{- end }}
    lifecycle:
      preStop:
        sleep: {seconds: {{ $engine.preStopSeconds }}}
    resources:
      {{- include "gg.engineResources" $engine | nindent 6 }}
    securityContext:
      {{- toYaml $engine.securityContext | nindent 6 }}
    volumeMounts:
      - {name: shm, mountPath: /dev/shm}
      - {name: tmp, mountPath: /tmp}
      - {name: cache, mountPath: /cache}
      {{- if $engine.cache.download.enabled }}
      - {name: weights, mountPath: /weights, readOnly: true}
      {{- end }}
      {{- with $engine.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: shm
    emptyDir: {medium: Memory, sizeLimit: {{ $engine.sharedMemory }}}
  - name: tmp
    emptyDir: {}
  {{- if and $engine.claim (not $engine.cache.download.enabled) }}
  - name: cache
    persistentVolumeClaim: {claimName: {{ $engine.claim }}}
  {{- else }}
  - name: cache
    emptyDir: {}
  {{- end }}
  {{- if $engine.cache.download.enabled }}
  - name: weights
    persistentVolumeClaim: {claimName: {{ $engine.claim }}, readOnly: true}
  {{- end }}
  {{- with $engine.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* Caches on the one writable volume, no telemetry, no redirects of media URLs. */}}
{{- define "gg.engineEnv" -}}
- {name: HOME, value: /tmp}
- {name: USER, value: vllm}
- {name: HF_HOME, value: /cache/huggingface}
- {name: VLLM_CACHE_ROOT, value: /cache/vllm}
- {name: TRITON_CACHE_DIR, value: /cache/triton}
- {name: TORCHINDUCTOR_CACHE_DIR, value: /cache/inductor}
- {name: VLLM_NO_USAGE_STATS, value: "1"}
- {name: DO_NOT_TRACK, value: "1"}
- {name: VLLM_MEDIA_URL_ALLOW_REDIRECTS, value: "0"}
{{- if not .engine.fetchesWeights }}
- {name: HF_HUB_OFFLINE, value: "1"}
{{- else }}
{{ include "gg.hubEnv" .root | trim }}
{{- end }}
{{- if eq .engine.accelerator "cpu" }}
- {name: VLLM_CPU_KVCACHE_SPACE, value: {{ .engine.cpu.kvCacheGb | quote }}}
{{- end }}
{{- with .engine.apiKeyVariable }}
- name: VLLM_API_KEY
  valueFrom:
    secretKeyRef: {name: {{ include "gg.secretName" $.root }}, key: {{ . }}}
{{- end }}
{{- with .engine.env }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "gg.engineResources" -}}
{{- $resources := deepCopy .resources -}}
{{- if and (ne .accelerator "cpu") (gt (int .gpu.count) 0) -}}
{{- $gpu := dict .gpu.resource .gpu.count -}}
{{- $_ := set $resources "limits" (merge (dict) $resources.limits $gpu) -}}
{{- $_ = set $resources "requests" (merge (dict) $resources.requests $gpu) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{/* How the hub is reached. The token of a gated model is the only secret. */}}
{{- define "gg.hubEnv" -}}
- {name: HF_HUB_DISABLE_TELEMETRY, value: "1"}
{{- with .Values.hub.endpoint }}
- {name: HF_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- with .Values.hub.tokenSecret }}
{{- if .name }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ .name }}, key: {{ .key }}}
{{- end }}
{{- end }}
{{- end -}}
