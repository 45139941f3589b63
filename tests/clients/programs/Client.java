import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;

/** An ordinary Java application: GET URL/first, then POST a file to URL/second. */
public final class Client {
    public static void main(String[] words) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        URI first = URI.create(words[0] + "/first");
        URI second = URI.create(words[0] + "/second");
        show(client, HttpRequest.newBuilder(first).build());
        show(client, HttpRequest.newBuilder(second).POST(HttpRequest.BodyPublishers.ofFile(Path.of(words[1]))).build());
    }

    private static void show(HttpClient client, HttpRequest request) throws Exception {
        HttpResponse<String> response = client.send(request, HttpResponse.BodyHandlers.ofString());
        System.out.println(response.statusCode() + " " + response.body());
    }
}
