import java.io.FileInputStream;
import java.security.KeyStore;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509TrustManager;

/** Says of each folder whether Java, with this trust store, trusts a server with the chain in it. */
class Judge {
    public static void main(String[] arguments) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(new FileInputStream(arguments[0]), "changeit".toCharArray());
        TrustManagerFactory factory = TrustManagerFactory.getInstance("PKIX");
        factory.init(store);
        X509TrustManager judge = (X509TrustManager) factory.getTrustManagers()[0];
        for (int i = 1; i < arguments.length; i++) {
            X509Certificate[] chain = {read(arguments[i] + "/leaf.pem"), read(arguments[i] + "/signer.pem")};
            try {
                judge.checkServerTrusted(chain, "ECDHE_ECDSA");
                System.out.println("trusted");
            } catch (CertificateException refused) {
                System.out.println("refused");
            }
        }
    }

    private static X509Certificate read(String path) throws Exception {
        return (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(new FileInputStream(path));
    }
}
