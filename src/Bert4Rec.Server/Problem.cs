using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.WebUtilities;

namespace Bert4Rec.Server;

/// <summary>Why there is no answer, as RFC 9457 has it.</summary>
/// <param name="Title">The status in words.</param>
/// <param name="Detail">A sentence on what would be right.</param>
/// <param name="Field">The member of the body, or the parameter, that is meant: "requests[2].filters[0].min".</param>
internal sealed record Problem(string Title, int Status, string Detail, string? Field = null)
{
    public const string ContentType = "application/problem+json";

    /// <summary>Answers with a problem; where the answer has begun, the connection is cut, lest a part be taken for the whole.</summary>
    public static async Task Write(HttpContext context, int status, string detail, string? field = null)
    {
        if (context.Response.HasStarted)
        {
            context.Abort();
            return;
        }
        context.Response.StatusCode = status;
        if (status is StatusCodes.Status503ServiceUnavailable)
            context.Response.Headers.RetryAfter = "1";
        if (status is StatusCodes.Status401Unauthorized)
            context.Response.Headers.WWWAuthenticate = "Bearer";
        // The rest of a body that came too slowly is not waited for.
        if (status is StatusCodes.Status408RequestTimeout)
            context.Response.Headers.Connection = "close";
        await ServerJson.Write(context, new Problem(ReasonPhrases.GetReasonPhrase(status), status, detail, field), ContentType);
    }
}

/// <summary>Ends a request with a <see cref="Problem"/> of the client's.</summary>
internal sealed class ProblemException(int status, string detail, string? member = null) : Exception(detail)
{
    public int Status => status;

    public string? Field => member;

    /// <summary>422: what is asked for can be read, and is out of range.</summary>
    public static ProblemException OutOfRange(string member, string detail) =>
        new(StatusCodes.Status422UnprocessableEntity, $"{member}: {detail}", member);
}
