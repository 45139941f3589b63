{{/*
The container and its volume, as sidecar and as gateway. Each of these takes the scope of this chart.
*/}}

{{- define "iclient-proxy.securityContext" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
readOnlyRootFilesystem: true
runAsNonRoot: true
{{- with .Values.runAsUser }}
runAsUser: {{ int64 . }}
{{- end }}
{{- with .Values.runAsGroup }}
runAsGroup: {{ int64 . }}
{{- end }}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* What is the same wherever the container runs; takes {scope, adminPort}. */}}
{{- define "iclient-proxy.container" -}}
{{- $values := .scope.Values -}}
name: iclient-proxy
image: {{ include "iclient-proxy.image" .scope | quote }}
imagePullPolicy: {{ $values.image.pullPolicy }}
args: [run, --config, /etc/iclient-proxy]
startupProbe:
  httpGet: {path: /startupz, port: iclient-admin}
  {{- toYaml $values.startupProbe | nindent 2 }}
readinessProbe:
  httpGet: {path: /readyz, port: iclient-admin}
  {{- toYaml $values.readinessProbe | nindent 2 }}
livenessProbe:
  httpGet: {path: /livez, port: iclient-admin}
  {{- toYaml $values.livenessProbe | nindent 2 }}
resources:
  {{- toYaml $values.resources | nindent 2 }}
securityContext:
  {{- include "iclient-proxy.securityContext" .scope | nindent 2 }}
{{- end }}

{{/* Environment, ports and mounts where the definitions come from the values; takes {scope}. */}}
{{- define "iclient-proxy.furniture" -}}
{{- $scope := .scope -}}
{{- with .scope.Values -}}
{{- if or .env .redis.existingSecret }}
env:
  {{- if .redis.existingSecret }}
  - name: ICLIENT_PROXY_REDIS_URL
    valueFrom: {secretKeyRef: {name: {{ .redis.existingSecret | quote }}, key: {{ .redis.urlKey | quote }}}}
  - name: ICLIENT_PROXY_REDIS_KEY
    valueFrom: {secretKeyRef: {name: {{ .redis.existingSecret | quote }}, key: {{ .redis.keyKey | quote }}}}
  {{- end }}
  {{- with .env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- with .envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - name: iclient-admin
    containerPort: {{ include "iclient-proxy.adminPort" $scope }}
  {{- range include "iclient-proxy.doors" $scope | fromYamlArray }}
  {{- if and .port .open }}
  - name: {{ .name }}
    containerPort: {{ .port }}
  {{- end }}
  {{- end }}
volumeMounts:
  - {name: iclient-proxy, mountPath: /etc/iclient-proxy, readOnly: true}
  {{- with .extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* All sources in one folder: what the chart writes, then what is there already. Names of files are flat: links to folders are not read. */}}
{{- define "iclient-proxy.volume" -}}
name: iclient-proxy
projected:
  defaultMode: 0444
  sources:
    - configMap: {name: {{ include "iclient-proxy.fullname" . | quote }}}
    {{- range .Values.existingConfigMaps }}
    - configMap:
        {{- include "iclient-proxy.source" . | nindent 8 }}
    {{- end }}
    {{- range .Values.existingSecrets }}
    - secret:
        {{- include "iclient-proxy.source" . | nindent 8 }}
    {{- end }}
    {{- with .Values.interception.existingSecret }}
    - secret:
        name: {{ . | quote }}
        items:
          - {key: ca.pem, path: ca.pem}
          - {key: ca-key.pem, path: ca-key.pem}
    {{- end }}
{{- end }}

{{- define "iclient-proxy.source" -}}
name: {{ .name | quote }}
{{- if .optional }}
optional: true
{{- end }}
{{- with .keys }}
items:
  {{- range $key, $path := . }}
  - {key: {{ $key | quote }}, path: {{ $path | quote }}}
  {{- end }}
{{- end }}
{{- end }}
