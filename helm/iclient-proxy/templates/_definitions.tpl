{{/*
What the proxy is to do: the definitions of the values, with what only the chart knows (where probes and Services reach it,
where Redis is). Each of these takes the scope of this chart.
*/}}

{{/* All definitions that the values hold, as one document: `definitions` and `files`. Those of existing objects are not seen. */}}
{{- define "iclient-proxy.known" -}}
{{- $known := deepCopy .Values.definitions -}}
{{- range $name, $text := .Values.files -}}
{{- $one := fromYaml $text -}}
{{- if hasKey $one "Error" -}}
{{- fail (printf "iclient-proxy: files.%s is not YAML: %s" $name $one.Error) -}}
{{- end -}}
{{- $known = merge $known $one -}}
{{- end -}}
{{- toYaml $known -}}
{{- end }}

{{/* The names by which other pods call the gateway: without them its listener answers 421. */}}
{{- define "iclient-proxy.hosts" -}}
{{- $name := include "iclient-proxy.fullname" . -}}
{{- $space := .Release.Namespace -}}
{{- list $name (printf "%s.%s" $name $space) (printf "%s.%s.svc" $name $space) (printf "%s.%s.svc.%s" $name $space .Values.clusterDomain) | toJson -}}
{{- end }}

{{/* `listeners` as they are written into the ConfigMap. */}}
{{- define "iclient-proxy.listeners" -}}
{{- $known := include "iclient-proxy.known" . | fromYaml -}}
{{- $listeners := deepCopy (.Values.definitions.listeners | default dict) -}}
{{- range $name, $ := $known.listeners | default dict -}}
{{- if not (hasKey $listeners $name) -}}
{{- fail (printf "iclient-proxy: write listeners.%s under definitions, not in files: the chart has to complete it" $name) -}}
{{- end -}}
{{- end -}}
{{- if and (hasKey $listeners "admin") (not (kindIs "map" $listeners.admin)) -}}
{{- fail "iclient-proxy: definitions.listeners.admin can't be false: probes ask it" -}}
{{- end -}}
{{- $_ := set $listeners "admin" (merge ($listeners.admin | default dict) (dict "bind" "0.0.0.0:7489")) -}}
{{- if .Values.interception.existingSecret -}}
{{- $forward := kindIs "map" $listeners.forward | ternary $listeners.forward dict -}}
{{- $intercept := dict "enabled" true "ca" (dict "cert" "ca.pem" "key" "ca-key.pem") -}}
{{- $_ := set $listeners "forward" (merge $forward (dict "intercept" $intercept)) -}}
{{- end -}}
{{- if .Values.gateway.enabled -}}
{{- $hosts := include "iclient-proxy.hosts" . | fromJsonArray -}}
{{- if not (hasKey $listeners "reverse") -}}
{{- $_ := set $listeners "reverse" dict -}}
{{- end -}}
{{- if kindIs "map" $listeners.reverse -}}
{{- $_ := set $listeners "reverse" (merge $listeners.reverse (dict "bind" "0.0.0.0:7480")) -}}
{{- end -}}
{{- range kindIs "slice" $listeners.reverse | ternary $listeners.reverse (list $listeners.reverse) -}}
{{- if kindIs "map" . -}}
{{- $_ := set . "allowed_hosts" (concat (.allowed_hosts | default list) $hosts | uniq) -}}
{{- end -}}
{{- end -}}
{{- if kindIs "map" $listeners.forward -}}
{{- $_ := set $listeners "forward" (merge $listeners.forward (dict "bind" "0.0.0.0:3128")) -}}
{{- end -}}
{{- end -}}
{{- toYaml $listeners -}}
{{- end }}

{{/* The data listeners: a list of {name, port, open, auth}; `port` is 0 for a unix socket. */}}
{{- define "iclient-proxy.doors" -}}
{{- $listeners := include "iclient-proxy.listeners" . | fromYaml -}}
{{- $doors := list -}}
{{- $reverse := $listeners.reverse -}}
{{- if not (hasKey $listeners "reverse") -}}
{{- $reverse = dict -}}
{{- end -}}
{{- range $number, $one := kindIs "slice" $reverse | ternary $reverse (list $reverse) -}}
{{- if kindIs "map" $one -}}
{{- $bind := $one.bind | default "127.0.0.1:7480" -}}
{{- $name := eq $number 0 | ternary "reverse" (printf "reverse-%d" (add $number 1)) -}}
{{- $doors = append $doors (dict "name" $name "key" "reverse" "bind" $bind "auth" (not (empty $one.auth))) -}}
{{- end -}}
{{- end -}}
{{- if kindIs "map" $listeners.forward -}}
{{- $bind := $listeners.forward.bind | default "127.0.0.1:3128" -}}
{{- $doors = append $doors (dict "name" "forward" "key" "forward" "bind" $bind "auth" (not (empty $listeners.forward.proxy_auth))) -}}
{{- end -}}
{{- range $doors -}}
{{- $socket := hasPrefix "unix:" .bind -}}
{{- $_ := set . "port" ($socket | ternary 0 (regexFind "[0-9]+$" .bind | int)) -}}
{{- $_ := set . "open" (not (or $socket (regexMatch "^(127\\.[0-9.]*|localhost|\\[::1\\]):[0-9]+$" .bind))) -}}
{{- end -}}
{{- toYaml $doors -}}
{{- end }}

{{- define "iclient-proxy.adminPort" -}}
{{- $listeners := include "iclient-proxy.listeners" . | fromYaml -}}
{{- regexFind "[0-9]+$" $listeners.admin.bind -}}
{{- end }}

{{/* Whoever reaches an open listener without a credential uses all your APIs in your name. */}}
{{- define "iclient-proxy.checkListeners" -}}
{{- range include "iclient-proxy.doors" . | fromYamlArray -}}
{{- if and .open (not .auth) -}}
{{- $remedy := eq .key "forward" | ternary "definitions.listeners.forward.proxy_auth: {username: apps, password: {file: gateway-token}}" "definitions.listeners.reverse.auth: {bearer: {file: gateway-token}}" -}}
{{- fail (printf "iclient-proxy: the %s listener (%s) is open to the cluster without a credential: every pod could call your APIs with your tokens. Set %s, where gateway-token is a key of a Secret in existingSecrets; or gateway.enabled: false, if you want the sidecar only" .key .bind $remedy) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* `store` as it is written into the ConfigMap; nothing where the values name none. */}}
{{- define "iclient-proxy.store" -}}
{{- $store := deepCopy (.Values.definitions.store | default dict) -}}
{{- with .Values.redis -}}
{{- if .existingSecret -}}
{{- if ne ($store.kind | default "redis") "redis" -}}
{{- fail (printf "iclient-proxy: redis.existingSecret is set, but definitions.store.kind is %s; keep one of the two" $store.kind) -}}
{{- end -}}
{{- $namespace := .namespace | default (printf "%s-%s" $.Release.Namespace (include "iclient-proxy.fullname" $)) -}}
{{- $store = merge $store (dict "kind" "redis" "url" (dict "env" "ICLIENT_PROXY_REDIS_URL") "key" (dict "env" "ICLIENT_PROXY_REDIS_KEY") "namespace" $namespace) -}}
{{- if not (hasKey $store "required") -}}
{{- $_ := set $store "required" .required -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $store -}}
{{- end }}

{{/* The document that the ConfigMap holds. */}}
{{- define "iclient-proxy.document" -}}
{{- $document := deepCopy .Values.definitions -}}
{{- $_ := set $document "listeners" (include "iclient-proxy.listeners" . | fromYaml) -}}
{{- with include "iclient-proxy.store" . | fromYaml -}}
{{- $_ := set $document "store" . -}}
{{- end -}}
{{- toYaml $document -}}
{{- end }}

{{/* A sum of what a running proxy can't take over: pods that bear it as an annotation are replaced when it changes. */}}
{{- define "iclient-proxy.fixed" -}}
{{- $document := include "iclient-proxy.document" . | fromYaml -}}
{{- $_ := set $document "listeners" (pick $document.listeners "admin") -}}
{{- omit $document "iclients" "connections" "defaults" "allow_inline_secrets" | toJson | sha256sum -}}
{{- end }}

{{/* What the values tell about each connection's grant: a list of {name, grant, seeded}. */}}
{{- define "iclient-proxy.grants" -}}
{{- $known := include "iclient-proxy.known" . | fromYaml -}}
{{- $providers := include "iclient-proxy.providers" . | fromYaml -}}
{{- $under := ($known.defaults | default dict).iclient | default dict -}}
{{- $found := list -}}
{{- range $name, $connection := $known.connections -}}
{{- if and (kindIs "map" $connection) (not (hasPrefix "x-" $name)) -}}
{{- $written := $connection.iclient | default dict -}}
{{- $iclient := kindIs "map" $written | ternary $written (get ($known.iclients | default dict) (toString $written) | default dict) -}}
{{- $grant := $iclient.grant_type | default $under.grant_type | default (get $providers ($iclient.provider | default $under.provider | default "" | toString)) -}}
{{- $found = append $found (dict "name" $name "grant" ($grant | default "" | toString) "seeded" (hasKey $connection "refresh_token")) -}}
{{- end -}}
{{- end -}}
{{- toYaml $found -}}
{{- end }}

{{/* Names of the connections that wait for a human. */}}
{{- define "iclient-proxy.waiting" -}}
{{- $waiting := list -}}
{{- range include "iclient-proxy.grants" . | fromYamlArray -}}
{{- if and (has .grant (list "authorization_code" "device_code")) (not .seeded) -}}
{{- $waiting = append $waiting .name -}}
{{- end -}}
{{- end -}}
{{- toYaml $waiting -}}
{{- end }}

{{/* Replicas that do not share their grants lock each other out. Takes {scope, replicas}. */}}
{{- define "iclient-proxy.checkReplicas" -}}
{{- $store := include "iclient-proxy.store" .scope | fromYaml -}}
{{- $known := include "iclient-proxy.known" .scope | fromYaml -}}
{{- $kind := $store.kind | default ($known.store | default dict).kind | default "memory" -}}
{{- if and (gt (int .replicas) 1) (ne $kind "redis") -}}
{{- range include "iclient-proxy.grants" .scope | fromYamlArray -}}
{{- if has .grant (list "authorization_code" "device_code" "refresh_token") -}}
{{- fail (printf "iclient-proxy: %d replicas can't share the grant of connection %s (%s) without Redis: each rotation of its refresh token would lock the others out. Set redis.existingSecret, or one replica" (int $.replicas) .name .grant) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Something to do, or a fault that says where it is written. */}}
{{- define "iclient-proxy.checkSources" -}}
{{- with .Values -}}
{{- if not (or .definitions .files .existingConfigMaps .existingSecrets) -}}
{{- fail "iclient-proxy: there are no definitions: write them under definitions (or files), or name existingConfigMaps or existingSecrets that hold them" -}}
{{- end -}}
{{- end -}}
{{- end }}
