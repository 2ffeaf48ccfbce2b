{{/* What a pod may reach, and what the outside may. */}}

{{- define "gg.dnsEgress" -}}
- to:
    {{- toYaml .Values.networkPolicy.dns.to | nindent 4 }}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end -}}

{{/* HTTPS to public addresses: no private network, and no cloud's metadata server. */}}
{{- define "gg.internetEgress" -}}
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except: [10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16]
    - ipBlock:
        cidr: ::/0
        except: [fc00::/7, fe80::/10]
  ports:
    - {port: 443, protocol: TCP}
{{- end -}}

{{/* Paths that Ingress and HTTPRoute let in: never /metrics, and /admin only when asked for. */}}
{{- define "gg.publicPaths" -}}
{{- ternary (list "/v1" "/admin") (list "/v1") .Values.exposeAdmin | toJson -}}
{{- end -}}
