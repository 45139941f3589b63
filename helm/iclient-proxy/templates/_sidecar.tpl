{{/*
For other charts. They name this chart as a dependency, with gateway.enabled: false, and include these in their pods.
Each takes a dict: `ctx` is the parent's `$`; `chart` is the alias of the dependency, if it has one.

  iclient-proxy.sidecar        the container as an item of a list; `at` says which list this is: "initContainers" or
                               "containers". Nothing where it does not belong. `replicas`: how many pods there are.
  iclient-proxy.volumes        items of the pod's volumes
  iclient-proxy.env            items of an application container's env
  iclient-proxy.volumeMounts   items of its volumeMounts: with interception, whom to trust; otherwise nothing
  iclient-proxy.podLabels      by which a PodMonitor finds the pod
  iclient-proxy.podAnnotations replace pods when something changes that a running proxy can't take over
  iclient-proxy.native.here    "true" where the sidecar is native; "false" where a Job has to end it (POST /quitquitquit)
  iclient-proxy.notes          for NOTES.txt: which connections wait for a human; `target` of kubectl port-forward
*/}}

{{/* The scope of this chart in its parent's, as `.scope` of the dict; a fault where there is none. */}}
{{- define "iclient-proxy.enter" -}}
{{- if not (and (kindIs "map" .) .ctx) -}}
{{- fail "iclient-proxy: its templates take a dict: include \"iclient-proxy.sidecar\" (dict \"ctx\" $ \"at\" \"initContainers\")" -}}
{{- end -}}
{{- $name := .chart | default "iclient-proxy" -}}
{{- if not (hasKey .ctx.Subcharts $name) -}}
{{- fail (printf "iclient-proxy: chart %s has no dependency named %s; name its alias: (dict \"ctx\" $ \"chart\" \"ALIAS\")" .ctx.Chart.Name $name) -}}
{{- end -}}
{{- $scope := index .ctx.Subcharts $name -}}
{{- if $scope.Values.gateway.enabled -}}
{{- fail (printf "iclient-proxy: set %s.gateway.enabled: false; its listeners are for other pods, a sidecar's are for its own" $name) -}}
{{- end -}}
{{- include "iclient-proxy.checkSources" $scope -}}
{{- include "iclient-proxy.checkListeners" $scope -}}
{{- $_ := set . "scope" $scope -}}
{{- end }}

{{- define "iclient-proxy.sidecar" -}}
{{- include "iclient-proxy.enter" . -}}
{{- if not (has .at (list "initContainers" "containers")) -}}
{{- fail "iclient-proxy.sidecar: say where it is included: \"at\" \"initContainers\" or \"at\" \"containers\"; it belongs into both lists, and is rendered in the right one" -}}
{{- end -}}
{{- include "iclient-proxy.checkReplicas" (dict "scope" .scope "replicas" (.replicas | default 1)) -}}
{{- $native := include "iclient-proxy.native" .scope | eq "true" -}}
{{- if eq .at ($native | ternary "initContainers" "containers") -}}
{{- $container := merge (include "iclient-proxy.container" . | fromYaml) (include "iclient-proxy.furniture" . | fromYaml) -}}
{{- if $native -}}
{{- $_ := set $container "restartPolicy" "Always" -}}
{{- end -}}
{{- toYaml (list $container) -}}
{{- end -}}
{{- end }}

{{- define "iclient-proxy.volumes" -}}
{{- include "iclient-proxy.enter" . -}}
{{- $volumes := list (include "iclient-proxy.volume" .scope | fromYaml) -}}
{{- if include "iclient-proxy.trust" .scope -}}
{{- $trusted := dict "name" .scope.Values.interception.trustConfigMap -}}
{{- $volumes = append $volumes (dict "name" "iclient-proxy-trust" "configMap" $trusted) -}}
{{- end -}}
{{- toYaml (concat $volumes .scope.Values.extraVolumes) -}}
{{- end }}

{{/* The folder in which applications find whom to trust; nothing without interception. */}}
{{- define "iclient-proxy.trust" -}}
{{- with .Values.interception -}}
{{- if .existingSecret -}}
{{- if not .trustConfigMap -}}
{{- fail "iclient-proxy: set interception.trustConfigMap: applications have to trust the authority of interception.existingSecret" -}}
{{- end -}}
/etc/iclient-proxy/trust
{{- end -}}
{{- end -}}
{{- end }}

{{- define "iclient-proxy.volumeMounts" -}}
{{- include "iclient-proxy.enter" . -}}
{{- with include "iclient-proxy.trust" .scope -}}
- {name: iclient-proxy-trust, mountPath: {{ . }}, readOnly: true}
{{- end -}}
{{- end }}

{{- define "iclient-proxy.env" -}}
{{- include "iclient-proxy.enter" . -}}
{{- $env := list (dict "name" "ICLIENT_PROXY_ADMIN" "value" (printf "http://127.0.0.1:%s" (include "iclient-proxy.adminPort" .scope))) -}}
{{- $trust := include "iclient-proxy.trust" .scope -}}
{{- range include "iclient-proxy.doors" .scope | fromYamlArray -}}
{{- if and (eq .name "reverse") .port -}}
{{- $env = append $env (dict "name" "ICLIENT_PROXY_URL" "value" (printf "http://127.0.0.1:%d" (int .port))) -}}
{{- end -}}
{{- if and (eq .name "forward") .port -}}
{{- $env = concat $env (include "iclient-proxy.proxyEnv" (dict "port" .port "trust" $trust) | fromYamlArray) -}}
{{- end -}}
{{- end -}}
{{- toYaml $env -}}
{{- end }}

{{/* The same as `iclient-proxy env --runtime k8s` prints; takes {port, trust}: on the pod's loopback, a folder or "". */}}
{{- define "iclient-proxy.proxyEnv" -}}
{{- $port := int .port -}}
{{- range list "http_proxy" "HTTP_PROXY" "https_proxy" "HTTPS_PROXY" }}
- {name: {{ . }}, value: "http://127.0.0.1:{{ $port }}"}
{{- end }}
{{- range list "no_proxy" "NO_PROXY" }}
- {name: {{ . }}, value: "localhost,127.0.0.1,::1"}
{{- end }}
- name: JAVA_TOOL_OPTIONS
  value: "-Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort={{ $port }} -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort={{ $port }} -Dhttp.nonProxyHosts=localhost|127.*|[::1]{{ with .trust }} -Djavax.net.ssl.trustStore={{ . }}/truststore.p12 -Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStorePassword=changeit{{ end }}"
{{- if .trust }}
{{- range list "SSL_CERT_FILE" "CURL_CA_BUNDLE" "REQUESTS_CA_BUNDLE" "GIT_SSL_CAINFO" "NODE_EXTRA_CA_CERTS" }}
- {name: {{ . }}, value: "{{ $.trust }}/bundle.pem"}
{{- end }}
{{- end }}
- {name: NODE_USE_ENV_PROXY, value: "1"}
{{- end }}

{{- define "iclient-proxy.native.here" -}}
{{- include "iclient-proxy.enter" . -}}
{{- include "iclient-proxy.native" .scope -}}
{{- end }}

{{- define "iclient-proxy.podLabels" -}}
iclient-proxy/sidecar: "true"
{{- end }}

{{- define "iclient-proxy.podAnnotations" -}}
{{- include "iclient-proxy.enter" . -}}
iclient-proxy/fixed: {{ include "iclient-proxy.fixed" .scope }}
{{- end }}

{{- define "iclient-proxy.notes" -}}
{{- include "iclient-proxy.enter" . -}}
{{- include "iclient-proxy.waitingNotes" (dict "scope" .scope "target" (.target | default (printf "deploy/%s" .ctx.Release.Name))) -}}
{{- end }}

{{- define "iclient-proxy.waitingNotes" -}}
{{- $port := include "iclient-proxy.adminPort" .scope -}}
{{- with include "iclient-proxy.waiting" .scope | fromYamlArray -}}
{{ len . | eq 1 | ternary "This connection has" "These connections have" }} to be authorized by a human before a request gets through:
{{ range . }}
  {{ . }}
{{- end }}

  kubectl --namespace {{ $.scope.Release.Namespace }} port-forward {{ $.target }} 7489:{{ $port }}
{{- range . }}
  iclient-proxy authorize {{ . }} --admin http://127.0.0.1:7489
{{- end }}

Or open http://127.0.0.1:7489/ in a browser while the port is forwarded.
{{- end -}}
{{- end }}
