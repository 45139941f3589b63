{{- define "export.pod" -}}
{{- $sidecar := dict "ctx" $ -}}
metadata:
  labels:
    app.kubernetes.io/name: export
    app.kubernetes.io/instance: {{ .Release.Name }}
    {{- include "iclient-proxy.podLabels" $sidecar | nindent 4 }}
spec:
  automountServiceAccountToken: false
  restartPolicy: Never
  {{- with include "iclient-proxy.sidecar" (merge (dict "at" "initContainers") $sidecar) }}
  initContainers:
    {{- . | nindent 4 }}
  {{- end }}
  containers:
    - name: export
      image: {{ .Values.image | quote }}
      command: [sh, -c]
      args:
        - |
          {{- if include "iclient-proxy.native.here" $sidecar | eq "false" }}
          # An ordinary container starts whenever it does.
          until curl --silent --fail --output /dev/null "$ICLIENT_PROXY_ADMIN/startupz"; do sleep 0.2; done
          {{- end }}
          curl --silent --show-error --fail "$ICLIENT_PROXY_URL/orders$EXPORT_PATH"
          status=$?
          {{- if include "iclient-proxy.native.here" $sidecar | eq "false" }}
          # It would keep the Job's pod for ever.
          curl --silent --show-error --request POST "$ICLIENT_PROXY_ADMIN/quitquitquit"
          {{- end }}
          exit $status
      env:
        {{- include "iclient-proxy.env" $sidecar | nindent 8 }}
        - {name: EXPORT_PATH, value: {{ .Values.path | quote }}}
      resources:
        requests: {cpu: 10m, memory: 16Mi}
        limits: {memory: 64Mi}
      securityContext:
        allowPrivilegeEscalation: false
        capabilities: {drop: [ALL]}
        runAsNonRoot: true
        runAsUser: 1000
        seccompProfile: {type: RuntimeDefault}
    {{- with include "iclient-proxy.sidecar" (merge (dict "at" "containers") $sidecar) }}
    {{- . | nindent 4 }}
    {{- end }}
  volumes:
    {{- include "iclient-proxy.volumes" $sidecar | nindent 4 }}
{{- end }}
